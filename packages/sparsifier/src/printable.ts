// Names in files are data: in text for people they must neither look like other text nor change what is around them.

/**
 * Characters that have no shape of their own: controls (with escape sequences of terminals), format characters (with
 * those that change the direction of text, and those without width), other ends of lines, halves of pairs of UTF-16, and
 * code points that are no characters. XML does not allow most of them either.
 */
const shapeless = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Noncharacter_Code_Point}]/gu;

const short: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** A text of one line, with characters that cannot be seen as escapes: `\n`, `\u{202e}`. */
export const printable = (text: string): string =>
  text.replace(shapeless, (character) => short[character] ?? `\\u{${character.codePointAt(0)!.toString(16)}}`);

/** As the content of an element of XML or HTML, or within quotes of an attribute. XML cannot have control characters at all. */
export const escaped = (text: string): string =>
  printable(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** Lines as one text. */
export const textOf = (lines: readonly string[]): string => lines.map(printable).join('\n');

const longest = 500;

/** The beginning and the end of a text that is too long to read. */
export function shortened(text: string): string {
  if (text.length <= longest) return text;
  const half = longest / 2;
  // Pairs of UTF-16 stay whole.
  const start = text.slice(0, half).replace(/[\ud800-\udbff]$/, '');
  const end = text.slice(1 - half).replace(/^[\udc00-\udfff]/, '');
  return `${start}…${end}`;
}
