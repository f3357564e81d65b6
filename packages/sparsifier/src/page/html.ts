import { escaped, shortened } from '../printable.js';

/** Markup. All other text is escaped where it is put into {@link html}. */
export class Markup {
  constructor(readonly text: string) {}
}

export type Content = string | number | Markup | undefined | readonly Content[];

/**
 * Markup from a template: `` html`<p>${name}</p>` ``. What is put in is escaped, also within quotes of attributes, and
 * characters without a shape of their own are shown as escapes. The indentation of the template is left out.
 */
export const html = (parts: TemplateStringsArray, ...contents: readonly Content[]): Markup =>
  new Markup(parts.reduce((text, part, at) => text + markedUp(contents[at - 1]) + part.replace(/\n\s*/g, '\n'), ''));

function markedUp(content: Content): string {
  if (content === undefined) return '';
  if (content instanceof Markup) return content.text;
  if (typeof content === 'object') return content.map(markedUp).join('');
  return escaped(String(content));
}

/** Lines of text as they are, of any length, for `<pre>`. */
export const lines = (text: string): Markup => new Markup(text.split('\n').map(escaped).join('\n'));

/** A sentence in which code is in backticks. */
export const sentence = (text: string): Content[] =>
  text.split(/`([^`]+)`/).map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part));

/** A name, which may be long, and written from right to left. */
export const named = (name: string): Markup => html`<bdi>${shortened(name)}</bdi>`;

/** An id of an element, for links to it. */
export const idOf = (layer: number): string => `layer-${layer}`;

/** A number with at most two digits after the point, for coordinates. */
export const short = (value: number): string => String(Math.round(value * 100) / 100);
