import { figure } from '../fit/made-report.js';
import { largestOf, sumOf } from '../model/numbers.js';
import { counted, formatted } from '../pruning/text.js';
import { html, named, short, type Markup } from './html.js';
import type { Histogram, MaskPicture } from './weights.js';

const [width, height] = [320, 120];

/** Bars of kept weights, with those that were removed on top of them, and the cut between both if there is one. */
export function histogramPicture({ name, isBefore, range, beyond, kept, removed, zeros, ...sizes }: Histogram): Markup {
  const most = largestOf(
    kept.map((count, bar) => count + removed[bar]!),
    1,
  );
  const wide = width / kept.length;
  const bar = (from: number, count: number, place: number): string => {
    const [tall, base] = [(count / most) * height, height - (from / most) * height];
    return count === 0
      ? ''
      : `M${short(place * wide)} ${short(base)}v${short(-tall)}h${short(wide - 1)}v${short(tall)}z`;
  };
  const { largestRemoved, smallestKept } = sizes;
  const gone = sumOf(removed);
  const isCut = largestRemoved !== undefined && smallestKept !== undefined && largestRemoved <= smallestKept;
  const isShown = isCut && largestRemoved <= range;
  const at = (value: number) => short((width * (value / range + 1)) / 2);
  const end = beyond === 0 ? '' : `; the outermost bars also have ${counted(beyond, 'weight')} beyond them`;
  const about =
    gone === 0
      ? 'none became 0'
      : isCut
        ? `${counted(gone, 'weight')} became 0, all up to the cut at ${figure(largestRemoved)}`
        : `${counted(gone, 'weight')} became 0, of absolute values up to ${figure(largestRemoved!)}; there is no cut by size`;
  const current = isBefore ? '' : '; the values are those now';
  const already = zeros === 0 ? '' : `; ${isBefore ? 'already 0' : '0'}: ${formatted(zeros)}`;
  return html`<figure>
    <figcaption><strong>${named(name)}</strong></figcaption>
    <svg viewBox="0 -4 ${width} ${height + 22}" role="img" aria-label="Histogram of the weights: ${about}">
      <path class="kept" d="${kept.map((count, place) => bar(0, count, place)).join('')}" />
      <path class="removed" d="${removed.map((count, place) => bar(kept[place]!, count, place)).join('')}" />
      <g class="axis"><path d="M0 ${height}H${width}" /></g>
      ${isShown ? html`<path class="cut" d="M${at(-largestRemoved)} -4V${height}M${at(largestRemoved)} -4V${height}" />` : ''}
      <g class="tick">
        <text x="0" y="${height + 15}">${figure(-range)}</text>
        <text x="${width / 2}" y="${height + 15}" text-anchor="middle">0</text>
        <text x="${width}" y="${height + 15}" text-anchor="end">${figure(range)}</text>
      </g>
    </svg>
    <p>${formatted(sumOf(kept))} kept; ${about}${already}${end}${current}.</p>
  </figure>`;
}

const cell = 5;
const gap = 3;

/** Kernels by output (down) and input (across); those with one input each follow each other in rows. */
export function maskPicture({ name, kind, outs, ins, kernel, isZero }: MaskPicture): Markup {
  const [high, wide] = kernel;
  const space = high * wide > 1 ? gap : 0;
  const columns = ins[1] === 1 ? Math.min(outs[1], 16) : ins[1];
  const rows = Math.ceil((outs[1] * ins[1]) / columns);
  const [across, down] = [wide * cell + space, high * cell + space];
  const [solid, holes]: [string[], string[]] = [[], []];
  for (let number = 0; number < outs[1] * ins[1]; number++) {
    const [x, y] = [(number % columns) * across, Math.floor(number / columns) * down];
    solid.push(`M${x} ${y}h${wide * cell}v${high * cell}h${-wide * cell}z`);
    for (let weight = 0; weight < high * wide; weight++) {
      if (!isZero[number * high * wide + weight]) continue;
      const [left, top] = [x + (weight % wide) * cell, y + Math.floor(weight / wide) * cell];
      holes.push(`M${left + 0.5} ${top + 0.5}h4v4h-4z`);
    }
  }
  const zeros = isZero.filter(Boolean).length;
  const size = ([all, shown]: readonly [number, number], what: string) =>
    all === shown ? counted(all, what) : `the first ${shown} of ${counted(all, what)}`;
  const about = `${size(outs, 'output')}, ${size(ins, 'input')}: ${formatted(zeros)} of ${counted(isZero.length, 'weight')} shown are 0`;
  const sized = high * wide > 1 ? `${kind}, ${high} x ${wide}` : kind;
  return html`<figure>
    <figcaption><strong>${named(name)}</strong> <span>${sized}</span></figcaption>
    <svg
      class="mask"
      viewBox="0 0 ${columns * across - space} ${rows * down - space}"
      style="max-width:${2 * (columns * across - space)}px"
      role="img"
      aria-label="Mask: ${about}"
    >
      <path class="kept" d="${solid.join('')}" />
      <path class="hole" d="${holes.join('')}" />
    </svg>
    <p>${about}.</p>
  </figure>`;
}
