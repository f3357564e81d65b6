// Names that would hide something, or change what is around them, if they were printed as they are.

export const hostileNames: Readonly<Record<string, string>> = {
  'ends of lines': 'a\nwarning: all is well\r\nb\u2028c\u2029d\u0085e',
  'an escape sequence': 'a\u001b[2J\u001b]0;title\u0007b\u009b31mc',
  'zero and backspaces': 'a\0b\b\b\b\u007fc',
  'another direction': 'a\u202egnp.b\u202c\u2066c\u2069\u200f\u061cd',
  'no width': 'a\u200bb\u200dc\u2060d\ufeffe\u00adf',
  'halves of pairs': 'a\ud800b\udc00c',
  'no characters': 'a\ufffeb\uffffc\u{1fffe}d',
  markup: 'a</title><script>alert(1)</script>&b"\'c]]>',
  'only what cannot be seen': '\u200b\u202e',
};

/** As far as UTF-8 can have them. */
export const inUtf8 = Object.fromEntries(Object.entries(hostileNames).filter(([title]) => title !== 'halves of pairs'));

/** The code points that text for people must not have, but for the ends of its own lines. */
const ranges: readonly (readonly [from: number, to: number])[] = [
  [0x00, 0x1f],
  [0x7f, 0x9f],
  [0xad, 0xad],
  [0x61c, 0x61c],
  [0x200b, 0x200f],
  [0x2028, 0x202e],
  [0x2060, 0x2064],
  [0x2066, 0x206f],
  [0xd800, 0xdfff],
  [0xfdd0, 0xfdef],
  [0xfeff, 0xfeff],
  [0xfffe, 0xffff],
  [0x1fffe, 0x1ffff],
  [0xe0001, 0xe0001],
  [0x10fffe, 0x10ffff],
];

export const isHidden = (character: string): boolean =>
  ranges.some(([from, to]) => character.codePointAt(0)! >= from && character.codePointAt(0)! <= to);

/** The characters of a text that cannot be seen, as numbers; its own ends of lines are none of them. */
export const hiddenIn = (text: string): string[] =>
  [...text].filter((each) => each !== '\n' && isHidden(each)).map((each) => each.codePointAt(0)!.toString(16));
