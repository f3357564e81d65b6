import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import { printable } from '../printable.js';

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
/** Of text and axes: dark enough on white, and light enough on black. There is no style sheet, which a page would share. */
const ink = '#767676';

/** A plot as the text of a self-contained SVG image. Points that are not finite are omitted. */
export function linePlot({ title, xLabel, yLabel, series }: LinePlot): string {
  const finite = series.map(({ name, points }) => ({
    name,
    points: points.filter((point) => point.every(Number.isFinite)),
  }));
  const legendRows = series.length > 1 ? Math.ceil(series.length / 3) : 0;
  const bottom = height - margin.bottom;
  const all = finite.flatMap(({ points }) => points);
  const domain = (axis: 0 | 1): [number, number] => {
    const values = all.map((point) => point[axis]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
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
    `<text x="${at}" y="${level}" stroke="none" fill="${ink}" ${more}>${escape(content)}</text>`;
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
      `<path stroke-width="2" data-series="${index}" ${looks(index)} d="${path(points) ?? ''}"><title>${escape(name)}</title></path>`,
  );
  const legend =
    legendRows === 0
      ? []
      : finite.map(({ name }, index) => {
          const at = margin.left + (index % 3) * 190;
          const level = height + 16 + Math.floor(index / 3) * 18;
          return `<path stroke-width="2" ${looks(index)} d="M${at} ${level - 4}h20"/>${text(at + 26, level, short(name))}`;
        });
  const whole = height + (legendRows > 0 ? 10 : 0) + legendRows * 18;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${whole}" width="${width}" height="${whole}" role="img" fill="none" stroke="${ink}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${escape(title)}</title>`,
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

/** Names of layers may be paths, whose ends tell more. */
function short(name: string): string {
  const characters = [...printable(name)];
  return characters.length > 24 ? `…${characters.slice(-23).join('')}` : characters.join('');
}

/** As the content of an element of XML, which cannot have control characters at all. */
const escape = (text: string): string =>
  printable(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
