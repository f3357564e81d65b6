import type { Words } from '../pruning/warnings.js';

/** Options as the command line takes them: `--layer-type all`. */
export const commandWords: Words = {
  option: (name, value) => {
    const option = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return value === undefined || value === true ? option : `${option} ${value}`;
  },
  withoutDepthwise: '--exclude is:depthwise',
};

/** Says a message of the library with the options of the command line; an empty text if that has no words for it. */
export type Say = (message: string) => string;

/** The messages that can be said. */
export const allSaid = (messages: readonly string[], say: Say): string[] =>
  messages.map(say).filter((message) => message !== '');

/**
 * Messages of the library say code in backticks: `layerType: 'all'`. On the command line options are written as flags,
 * and sentences with other code, such as a method to call, are left out.
 * @param flags the flags of the command by the names of the options: `--layer-type` by `layerType`
 */
export function inFlags(message: string, flags: ReadonlyMap<string, string>): string {
  const text = message
    .split(/(?<=[.?]\s{1,2})(?=[A-Z`])/)
    .flatMap((sentence) => {
      let isSayable = true;
      const said = sentence.replace(/`([^`]*)`/g, (_, code: string) => {
        const words = wordsOf(code, flags);
        isSayable &&= words !== undefined;
        return words ?? '';
      });
      return isSayable ? [said] : [];
    })
    .join('');
  const said = text.trimEnd();
  return text.slice(said.length).includes('\n') ? `${said}\n` : said;
}

/** What the command line writes for an option of the library, with its value if there is one, or for a rule. */
function wordsOf(code: string, flags: ReadonlyMap<string, string>): string | undefined {
  const inside = /^\{ (.*) \}$/.exec(code)?.[1] ?? code;
  const [, name = '', text] = /^(\w+)(?:\(\)|: (.*))?$/.exec(inside) ?? [];
  const value = text === undefined ? undefined : valueOf(text);
  if (name === 'kind') return `kind:${String(value)}`;
  if (name === 'depthwise') return 'is:depthwise';
  if (name === 'smallerThan') return `smaller:${String(value)}`;
  // The option of that name is for the values of inputs.
  if (name === 'inputs' && typeof value === 'string') return `--repair-inputs ${value}`;
  const flag = flags.get(name);
  if (flag === undefined || value === undefined || value === true) return flag;
  if (value === false && flag.startsWith('--no-')) return flag;
  return `${flag} ${typeof value === 'object' ? structured(value) : String(value)}`;
}

type Value = string | number | boolean | Readonly<Record<string, unknown>>;

/** The value of a literal without backslashes, or the text itself. */
function valueOf(text: string): Value {
  try {
    return JSON.parse(text.replaceAll("'", '"').replace(/\b(\w+):/g, '"$1":')) as Value;
  } catch {
    return text;
  }
}

/** `2:4`, `block:out=1,in=4`, `spanning:in,height`, or a ranking: `encoder=enc*,stem`. */
function structured(value: Readonly<Record<string, unknown>>): string {
  const [key, inside] = Object.entries(value)[0]!;
  if (key === 'nm') return (inside as number[]).join(':');
  if (key === 'spanning') return `spanning:${String(inside)}`;
  if (key !== 'block') return `${key}=${String(inside)}`;
  return `block:${Object.entries(inside as object)
    .map(([role, size]) => `${role}=${size}`)
    .join(',')}`;
}

/** `, about 2 min left` @param seconds that are left */
export const remainingInWords = (seconds: number): string =>
  `, about ${seconds < 100 ? `${Math.ceil(seconds / 10) * 10} s` : `${Math.round(seconds / 60)} min`} left`;
