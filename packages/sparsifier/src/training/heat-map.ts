import { scaleLinear } from 'd3-scale';
import { largestItems, largestOf } from '../model/numbers.js';
import { escaped } from '../printable.js';
import { ink, short } from './svg.js';

export interface HeatMap {
  readonly title: string;
  readonly xLabel: string;
  /** What colours stand for. */
  readonly legend: string;
  readonly columns: readonly string[];
  /** From the top, each with a number for each column. */
  readonly rows: readonly { readonly name: string; readonly values: readonly number[] }[];
}

/** Of more rows, those with the largest numbers are drawn. */
const mostRows = 200;

const [rowHeight, names, top] = [20, 190, 64];
const widest = 640 - names - 16;
/** From the lightest to the darkest, which also differ for colour-blind people and in grey: ColorBrewer's YlOrBr. */
const colours = ['#ffffe5', '#fee391', '#fe9929', '#cc4c02', '#662506'];
/** Of the scale below the cells. */
const steps = 32;
/** From this share of the largest number on, white text is read more easily than black text. */
const isDark = 0.6;

/**
 * A table whose cells are coloured by their numbers, from 0 to the largest, as the text of a self-contained SVG image.
 * Numbers below 0 have the colour of 0. Of many rows, some are left out.
 */
export function heatMap({ title, xLabel, legend, columns, rows }: HeatMap): string {
  const shown = largestItems(rows, mostRows, ({ values }) => largestOf(values));
  const left = rows.length - shown.length;
  const most = Math.max(0, largestOf(shown.flatMap(({ values }) => values)));
  const colour = scaleLinear(
    colours.map((_, index) => (index * (most > 0 ? most : 1)) / (colours.length - 1)),
    colours,
  ).clamp(true);
  const columnWidth = widest / columns.length;
  const at = (column: number) => names + column * columnWidth;
  const text = (x: number, y: number, content: string, more = '') =>
    `<text x="${round(x)}" y="${round(y)}" ${more}>${escaped(content)}</text>`;
  const cells = shown.map(({ name, values }, row) => {
    const y = top + row * rowHeight;
    const each = values.map((value, column) => {
      const isLow = !(value > isDark * most);
      const number = String(Number(value.toPrecision(columnWidth < 48 ? 2 : 3)));
      return (
        `<rect x="${round(at(column))}" y="${y}" width="${round(columnWidth - 1)}" height="${rowHeight - 1}" fill="${colour(value)}">` +
        `<title>${escaped(`${name}, ${columns[column]}: ${value}`)}</title></rect>` +
        text(
          at(column + 0.5),
          y + 14,
          number,
          `fill="${isLow ? '#000' : '#fff'}" text-anchor="middle" font-size="11" pointer-events="none"`,
        )
      );
    });
    return text(names - 8, y + 14, short(name), 'text-anchor="end"') + each.join('');
  });
  const bottom = top + shown.length * rowHeight;
  const whole = bottom + 48 + (left > 0 ? rowHeight : 0);
  const scale = Array.from({ length: steps }, (_, step) => {
    const width = widest / steps;
    return `<rect x="${round(names + step * width)}" y="${whole - 30}" width="${round(width + 0.5)}" height="8" fill="${colour((step / (steps - 1)) * most)}"/>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 ${whole}" width="640" height="${whole}" role="img" fill="${ink}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    text(320, 20, title, 'text-anchor="middle" font-size="15"'),
    text(at(columns.length / 2), 40, xLabel, 'text-anchor="middle"'),
    ...columns.map((name, column) => text(at(column + 0.5), top - 6, name, 'text-anchor="middle"')),
    ...cells,
    ...(left > 0 ? [text(names, bottom + 14, `and ${left} with smaller numbers`)] : []),
    ...scale,
    text(names, whole - 8, '0'),
    text(names + widest / 2, whole - 8, legend, 'text-anchor="middle"'),
    text(names + widest, whole - 8, String(Number(most.toPrecision(3))), 'text-anchor="end"'),
    '</svg>',
  ].join('\n');
}

const round = (value: number): number => Math.round(100 * value) / 100;
