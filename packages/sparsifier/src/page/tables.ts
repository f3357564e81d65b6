import { largestItems } from '../model/numbers.js';
import { formatted, percent, percentOf } from '../pruning/text.js';
import { html, idOf, named, short, type Content, type Markup } from './html.js';
import { areaOf, haveGone, removedShare, type PageLayer } from './layers.js';

/** Of more layers the largest have a row. */
const mostRows = 2000;

/** A table that scrolls by itself where the page is narrow. @param from the first of the columns with numbers @param to the end of them */
const table = (
  {
    name,
    head,
    from,
    to,
  }: { readonly name: string; readonly head: readonly string[]; readonly from: number; readonly to: number },
  body: readonly Markup[],
): Markup =>
  html`<div class="scroll" role="region" aria-label="${name}" tabindex="0">
    <table>
      <thead>
        <tr>
          ${head.map((text, column) => {
            // What has no name is no head.
            if (text === '') return html`<td></td>`;
            return html`<th scope="col" ${column >= from && column < to ? numeric : ''}>${text}</th>`;
          })}
        </tr>
      </thead>
      <tbody>
        ${body}
      </tbody>
    </table>
  </div> `;

const numeric = html` class="n"`;

/** Rows of text, below those of the names of columns, as a table. */
export function plainTable(
  name: string,
  [head, ...rows]: readonly (readonly string[])[],
  [from, to]: readonly [number, number],
): Markup {
  const body = rows.map(
    ([first, ...rest]) =>
      html`<tr>
        <th scope="row">${first}</th>
        ${rest.map((text, column) => html`<td${column + 1 >= from && column + 1 < to ? numeric : ''}>${text}</td>`)}
      </tr> `,
  );
  return table({ name, head: head!, from, to }, body);
}

/** A column of the table of layers, which is left out if it is empty. */
interface Column {
  readonly head: string;
  readonly text: (layer: PageLayer) => string | undefined;
  readonly look?: 'number' | 'share';
}

const count = (value: number | undefined) => (value === undefined ? undefined : formatted(value));
const share = (value: number | undefined) => (value === undefined ? undefined : percent(value));
const sparsityOf = ({ zeros, weights }: PageLayer) =>
  zeros === undefined || weights === undefined ? undefined : percentOf(zeros, weights);

const columns = (layers: readonly PageLayer[]): Column[] => {
  const gone: Column[] = [
    { head: 'weights before', text: ({ weightsBefore }) => count(weightsBefore), look: 'number' },
    { head: 'zero or gone', text: (layer) => share(removedShare(layer)), look: 'share' },
  ];
  const all: Column[] = [
    { head: 'kind', text: ({ kind }) => kind },
    { head: 'shape', text: ({ shape }) => shape.join(' x ') },
    { head: 'form', text: ({ form }) => form },
    {
      head: 'channels',
      text: ({ channels }) => channels && `${formatted(channels.before)} -> ${formatted(channels.after)}`,
    },
    { head: 'weights', text: ({ weights }) => count(weights), look: 'number' },
    { head: 'zeros', text: ({ zeros }) => count(zeros), look: 'number' },
    { head: 'sparsity', text: (layer) => share(sparsityOf(layer)), look: 'share' },
    ...(haveGone(layers) ? gone : []),
    { head: 'error', text: ({ error }) => share(error === undefined ? undefined : 100 * error), look: 'number' },
    { head: 'bytes before', text: ({ bytesBefore }) => count(bytesBefore), look: 'number' },
    { head: 'bytes', text: ({ bytes }) => count(bytes), look: 'number' },
  ];
  return all.filter(({ text }) => layers.some((layer) => text(layer) !== undefined));
};

/** The layers that have a row, by its number. */
export function rowsOf(layers: readonly PageLayer[]): ReadonlyMap<PageLayer, number> {
  return new Map(largestItems(layers, mostRows, areaOf).map((layer, index) => [layer, index + 1]));
}

/** What the map shows, in numbers. */
export function layerTable(layers: readonly PageLayer[], rows: ReadonlyMap<PageLayer, number>): Content {
  if (layers.length === 0) return undefined;
  const shown = [...rows.keys()];
  const used = columns(shown);
  const numbers = used.map(({ look }) => look === 'number' || look === 'share');
  const body = shown.map(
    (layer) =>
      html`<tr id="${idOf(rows.get(layer)!)}">
        <th scope="row">${named(layer.name)}</th>
        ${used.map((column) => cell(column, column.text(layer) ?? ''))}
      </tr> `,
  );
  const [from, to] = [numbers.indexOf(true) + 1, numbers.lastIndexOf(true) + 2];
  const left = layers.length - shown.length;
  return [
    ...(left === 0 ? [] : [html`<p>The ${formatted(mostRows)} largest of ${formatted(layers.length)} layers.</p>`]),
    table({ name: 'Layers', head: ['layer', ...used.map(({ head }) => head)], from, to }, body),
  ];
}

function cell({ look }: Column, text: string): Markup {
  if (look === 'share' && text !== '')
    return html`<td class="n bar" style="--share:${short(parseFloat(text))}%">${text}</td>`;
  return html`<td${look === undefined ? '' : numeric}>${text}</td>`;
}
