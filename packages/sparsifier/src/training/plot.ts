import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import { largestItems, largestOf } from '../model/numbers.js';
import { escaped } from '../printable.js';
import { ink, short } from './svg.js';

/** A line of a plot. */
interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LinePlot {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const [width, height] = [640, 400];
const margin = { top: 36, right: 16, bottom: 48, left: 60 };
/** Apart from each other on white and on black, and for most colour-blind people (Okabe and Ito 2008). */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const dashes = ['', '6 3', '2 3'];
/** Of more lines, those that reach highest are drawn. */
const mostSeries = 200;
/** Of a line of more points, the first, lowest, highest and last one are drawn of each of so many equal parts. */
const mostParts = width;

/**
 * A plot as the text of a self-contained SVG image. Points that are not finite are omitted. Its size is limited: of many
 * lines and many points, some are left out.
 */
export function linePlot({ title, xLabel, yLabel, series }: LinePlot): string {
  const thin = series.map(({ name, points }) => ({
    name,
    points: thinned(points.filter((point) => point.every(Number.isFinite))),
  }));
  const finite = largestItems(thin, mostSeries, ({ points }) => largestOf(points.map(([, value]) => value)));
  const left = series.length - finite.length;
  const legendRows = series.length > 1 ? Math.ceil((finite.length + Math.sign(left)) / 3) : 0;
  const bottom = height - margin.bottom;
  const all = finite.flatMap(({ points }) => points);
  const domain = (axis: 0 | 1): [number, number] => {
    const values = all.map((point) => point[axis]);
    const [low, high] = [values.reduce((least, value) => Math.min(least, value), Infinity), largestOf(values)];
    if (values.length === 0) return [0, 1];
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  };
  const x = scaleLinear(domain(0), [margin.left, width - margin.right]);
  const y = scaleLinear(domain(1), [bottom, margin.top]).nice(5);
  const path = line<readonly [number, number]>(
    ([at]) => x(at),
    ([, value]) => y(value),
  );
  const text = (at: number, level: number, content: string, more = '') =>
    `<text x="${at}" y="${level}" stroke="none" fill="${ink}" ${more}>${escaped(content)}</text>`;
  const looks = (index: number) => {
    const dash = dashes[Math.floor(index / colours.length) % dashes.length];
    return `stroke="${colours[index % colours.length]}"${dash ? ` stroke-dasharray="${dash}"` : ''}`;
  };
  const across = x.ticks(6).map((tick) => {
    const place = `<path d="M${x(tick)} ${bottom}v5"/>`;
    return place + text(x(tick), bottom + 18, x.tickFormat(6)(tick), 'text-anchor="middle"');
  });
  const up = y.ticks(5).map((tick) => {
    const place = `<path stroke-opacity="0.3" d="M${margin.left} ${y(tick)}H${width - margin.right}"/>`;
    return place + text(margin.left - 8, y(tick) + 4, y.tickFormat(5)(tick), 'text-anchor="end"');
  });
  const lines = finite.map(
    ({ name, points }, index) =>
      `<path stroke-width="2" data-series="${index}" ${looks(index)} d="${path(points) ?? ''}"><title>${escaped(name)}</title></path>`,
  );
  const inLegend = (index: number, content: string) =>
    text(margin.left + (index % 3) * 190 + 26, height + 16 + Math.floor(index / 3) * 18, content);
  const legend =
    legendRows === 0
      ? []
      : finite.map(({ name }, index) => {
          const at = margin.left + (index % 3) * 190;
          const level = height + 16 + Math.floor(index / 3) * 18;
          return `<path stroke-width="2" ${looks(index)} d="M${at} ${level - 4}h20"/>${inLegend(index, short(name))}`;
        });
  if (left > 0) legend.push(inLegend(finite.length, `and ${left} lower ones`));
  const whole = height + (legendRows > 0 ? 10 : 0) + legendRows * 18;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${whole}" width="${width}" height="${whole}" role="img" fill="none" stroke="${ink}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    text(width / 2, 20, title, 'text-anchor="middle" font-size="15"'),
    `<path d="M${margin.left} ${margin.top}V${bottom}H${width - margin.right}"/>`,
    ...across,
    ...up,
    text((margin.left + width - margin.right) / 2, height - 8, xLabel, 'text-anchor="middle"'),
    text(-(margin.top + bottom) / 2, 16, yLabel, 'text-anchor="middle" transform="rotate(-90)"'),
    ...lines,
    ...legend,
    '</svg>',
  ].join('\n');
}

/** Points that look the same, of which there are at most four for each part of the width. */
function thinned(points: Series['points']): Series['points'] {
  if (points.length <= 4 * mostParts) return points;
  const size = Math.ceil(points.length / mostParts);
  return Array.from({ length: Math.ceil(points.length / size) }, (_, part) => {
    const [from, end] = [part * size, Math.min(points.length, (part + 1) * size)];
    let [low, high] = [from, from];
    for (let place = from; place < end; place++) {
      if (points[place]![1] < points[low]![1]) low = place;
      if (points[place]![1] > points[high]![1]) high = place;
    }
    const places = new Set([from, Math.min(low, high), Math.max(low, high), end - 1]);
    return [...places].map((place) => points[place]!);
  }).flat();
}
