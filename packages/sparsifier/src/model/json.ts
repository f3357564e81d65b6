/** Whether a value, such as one read from JSON, is an object and not a list. */
export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The levels that JSON may have. Real models have less than a hundred. */
const mostLevels = 1000;

/**
 * Parses JSON from a file. `JSON.parse` reads any depth, while whatever walks the content afterwards, such as
 * `JSON.stringify`, needs a stack: so the depth is limited here, once for all.
 * @throws SyntaxError for what is not JSON, or is nested more than 1000 levels deep
 */
export function parseJson(text: string): unknown {
  const content: unknown = JSON.parse(text);
  let level = 0;
  // Behind `JSON.parse` all quotes are paired, and all brackets outside of texts.
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') {
      while (text[++at] !== '"') if (text[at] === '\\') at++;
    } else if (character === '{' || character === '[') {
      if (++level > mostLevels) throw new SyntaxError(`it is nested more than ${mostLevels} levels deep`);
    } else if (character === '}' || character === ']') level--;
  }
  return content;
}
