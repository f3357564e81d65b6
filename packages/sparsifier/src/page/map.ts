import { hierarchy, treemap } from 'd3-hierarchy';
import { sumOf } from '../model/numbers.js';
import { formatted, percent } from '../pruning/text.js';
import { shortened } from '../printable.js';
import { html, idOf, named, short, type Markup } from './html.js';
import { areaOf, haveGone, removedShare, type PageLayer } from './layers.js';

/** Of more layers the largest are drawn, and one cell stands for all others. */
const mostCells = 1000;
/** For which cells have about the right proportions; a page of another width stretches them. */
const [width, height] = [1120, 440];
/** The least size of a cell with a label. Narrower pages hide those that no longer fit. */
const [labelWidth, labelHeight] = [52, 24];

/** The same for a label with numbers. */
const [numbersWidth, numbersHeight] = [150, 60];

/** Shares up to which a colour goes, in percent. */
const sparsitySteps = [0, 10, 25, 50, 75, 100];
const errorSteps = [0, 1, 5, 20, 50, Infinity];

interface Cell {
  readonly layer: PageLayer | undefined;
  readonly area: number;
}

/** A map of the layers, in which a cell leads to the row of its layer. Empty if nothing has an area. */
export function layerMap(layers: readonly PageLayer[], rows: ReadonlyMap<PageLayer, number>): Markup {
  const sorted = layers.filter((layer) => areaOf(layer) > 0).sort((a, b) => areaOf(b) - areaOf(a));
  if (sorted.length === 0) return html``;
  const others = sorted.slice(mostCells);
  const cells: Cell[] = sorted.slice(0, mostCells).map((layer) => ({ layer, area: areaOf(layer) }));
  if (others.length > 0) cells.push({ layer: undefined, area: sumOf(others.map(areaOf)) });
  const root = hierarchy<Cell | { readonly children: readonly Cell[] }>({ children: cells }).sum((each) =>
    'area' in each ? each.area : 0,
  );
  const drawn = treemap<Cell | { readonly children: readonly Cell[] }>().size([width, height])(root).leaves();
  const unit = unitOf(layers);
  const hasError = layers.some(({ error }) => error !== undefined);
  const removed = haveGone(layers) ? 'zeros and weights that are gone' : 'zeros';
  return html`<div class="map-of-layers">
    <p>
      The area of a layer is its ${unit === 'bytes' ? 'bytes in the files' : 'number of weights'}. A cell leads to the
      row of its layer in the table.
    </p>
    ${hasError ? choice : ''} ${legend('sparsity', `${removed}, in percent of the weights`, sparsitySteps)}
    ${hasError ? legend('error', 'relative error that removing and rounding leave, in percent', errorSteps) : ''}
    <div class="map" role="group" aria-label="Map of the layers">
      ${drawn.map(({ data, x0, y0, x1, y1 }) => {
        const { layer, area } = data as Cell;
        const row = layer && rows.get(layer);
        const target = row === undefined ? 'layers' : idOf(row);
        const place = `left:${part(x0, width)};top:${part(y0, height)};width:${part(x1 - x0, width)};height:${part(y1 - y0, height)}`;
        const title = layer ? wordsOf(layer) : `${formatted(others.length)} smaller layers: ${formatted(area)} ${unit}`;
        const hasLabel = x1 - x0 >= labelWidth && y1 - y0 >= labelHeight;
        const label = layer ? named(layer.name) : `${formatted(others.length)} smaller layers`;
        const isLarge = x1 - x0 >= numbersWidth && y1 - y0 >= numbersHeight;
        const numbers = layer && isLarge ? html`<small>${numbersOf(layer)}</small>` : '';
        const text = hasLabel ? html`<span>${label}${numbers}</span>` : '';
        return html`<a href="#${target}" class="${classOf(layer, hasLabel)}" style="${place}" title="${title}"
          >${text}</a
        > `;
      })}
    </div>
  </div>`;
}

/** What areas are measured in. */
const unitOf = (layers: readonly PageLayer[]): string =>
  layers.some(({ bytes, bytesBefore }) => bytes !== undefined || bytesBefore !== undefined) ? 'bytes' : 'weights';

const part = (size: number, whole: number): string => `${short((100 * size) / whole)}%`;

/** `36,864 bytes, 50.00 %` */
function numbersOf(layer: PageLayer): string {
  const share = removedShare(layer);
  return `${formatted(areaOf(layer))} ${unitOf([layer])}${share === undefined ? '' : `, ${percent(share)}`}`;
}

/** `conv1: 36,864 bytes, 50.00 % zeros, error 1.20 %` */
function wordsOf(layer: PageLayer): string {
  const { name, error } = layer;
  const share = removedShare(layer);
  return [
    `${shortened(name)}: ${formatted(areaOf(layer))} ${unitOf([layer])}`,
    ...(share === undefined ? [] : [`${percent(share)} ${haveGone([layer]) ? 'zeros or gone' : 'zeros'}`]),
    ...(error === undefined ? [] : [`error ${percent(100 * error)}`]),
  ].join(', ');
}

const classOf = (layer: PageLayer | undefined, hasLabel: boolean): string =>
  [
    `s${stepOf(layer && removedShare(layer), sparsitySteps)}`,
    `e${stepOf(layer?.error === undefined ? undefined : 100 * layer.error, errorSteps)}`,
    ...(hasLabel ? ['labelled'] : []),
  ].join(' ');

/** The number of the colour; that of what is not known is 0. */
const stepOf = (share: number | undefined, steps: readonly number[]): number =>
  share === undefined
    ? 0
    : Math.max(
        0,
        steps.findIndex((step) => share <= step),
      );

const choice = html`<fieldset>
  <legend>Colour</legend>
  <label><input type="radio" name="colour" id="by-sparsity" checked /> sparsity</label>
  <label><input type="radio" name="colour" id="by-error" /> error</label>
</fieldset>`;

function legend(kind: 'sparsity' | 'error', title: string, steps: readonly number[]): Markup {
  const words = steps.map((step, index) => {
    if (index === 0) return '0 %';
    const from = index === 1 ? 'up' : `${steps[index - 1]}`;
    return step === Infinity ? `above ${from} %` : `${from} to ${step} %`;
  });
  return html`<div class="legend of-${kind}">
    <p>${title}:</p>
    <ul>
      ${words.map((text, index) => html`<li><i class="${kind === 'sparsity' ? 's' : 'e'}${index}"></i>${text}</li>`)}
    </ul>
  </div>`;
}
