import { scaleLinear } from 'd3-scale';
import { line, symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle } from 'd3-shape';
import { figure, isSetting } from '../fit/made-report.js';
import type { FitPoint, FitReport } from '../fit/report.js';
import { encodingInWords } from '../fit/target.js';
import { largestOf } from '../model/numbers.js';
import { formatted, percent } from '../pruning/text.js';
import { html, short, type Markup } from './html.js';

const [width, height] = [560, 330];
const margin = { top: 28, right: 18, bottom: 46, left: 60 };
const marks = [symbolCircle, symbolSquare, symbolTriangle, symbolDiamond];
/** How many colours and marks differ. */
const kinds = marks.length;

type Made = FitPoint & { readonly outcome: number };

/** Bytes and outcome of the models that were judged; nothing if there are none. */
export function curvePlot({ curve, chosen, target, encoding, outcome }: FitReport): Markup {
  const judged = curve.filter((point): point is Made => point.outcome !== undefined);
  if (judged.length === 0) return html``;
  const series = [...new Set(judged.map(nameOf))];
  const [left, right] = [margin.left, width - margin.right];
  const [bottom, top] = [height - margin.bottom, margin.top];
  const x = scaleLinear(widened([...judged.map(({ bytes }) => bytes), ...(target === undefined ? [] : [target])]), [
    left,
    right,
  ]);
  const y = scaleLinear(widened(judged.map((point) => point.outcome)), [bottom, top]).nice(5);
  const unit = unitFor(x.domain()[1]!);
  const path = line<Made>(
    (point) => rounded(x(point.bytes)),
    (point) => rounded(y(point.outcome)),
  );
  const best = judged.find((point) => isSetting(point, chosen));
  const meaning = outcome.by === 'evaluate' ? 'outcome of evaluate' : `relative error of the ${outcome.by}`;
  const better = outcome.higherIsBetter ? 'higher is better' : 'lower is better';
  const pointsOf = (name: string) => judged.filter((point) => nameOf(point) === name).sort((a, b) => a.bytes - b.bytes);
  return html`<figure class="curve">
    <svg viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="curve-title">
      <title id="curve-title">Bytes and outcome of ${judged.length} models; the table below has the numbers</title>
      <g class="grid">${y.ticks(5).map((tick) => html`<path d="M${left} ${short(y(tick))}H${right}" />`)}</g>
      <g class="axis"><path d="M${left} ${bottom}H${right}" /></g>
      <g class="tick end">
        ${y.ticks(5).map((tick) => html`<text x="${left - 8}" y="${short(y(tick) + 4)}">${y.tickFormat(5)(tick)}</text>`)}
      </g>
      <g class="tick middle">
        ${x.ticks(5).map((tick) => html`<text x="${short(x(tick))}" y="${bottom + 18}">${figure(tick / unit.bytes)}</text>`)}
      </g>
      <text class="label" x="${right}" y="${height - 8}" text-anchor="end">
        ${unit.name} ${encodingInWords[encoding]}
      </text>
      <text class="label" x="8" y="16">${meaning} (${better})</text>
      ${target === undefined ? '' : targetLine(x(target), { top, bottom, isRight: x(target) > (left + right) / 2 })}
      ${series.map((name, index) => {
        const points = pointsOf(name);
        const mark = symbol(marks[index % kinds], 46)()!;
        return html`<g class="form-${index % kinds}"
          ><path class="line" d="${path(points) ?? ''}" />${points.map(
            (point) =>
              html`<path d="${mark}" transform="translate(${short(x(point.bytes))} ${short(y(point.outcome))})"
                ><title>${name}: ${formatted(point.bytes)} bytes, ${figure(point.outcome)}</title></path
              >`,
          )}</g
        > `;
      })}
      ${best === undefined ? '' : html`<circle class="chosen" cx="${short(x(best.bytes))}" cy="${short(y(best.outcome))}" r="9" />`}
    </svg>
    <figcaption>
      <ul class="keys">
        ${series.map((name, index) => key(name, index))}${
          best === undefined
            ? ''
            : html`<li>
                <svg viewBox="0 0 16 16" aria-hidden="true"><circle class="chosen" cx="8" cy="8" r="6" /></svg>chosen:
                ${formatted(best.bytes)} bytes, ${figure(best.outcome)}
              </li>`
        }
      </ul>
    </figcaption>
  </figure>`;
}

/** Models of a form, and of a share of channels that were removed, are one line. */
const nameOf = ({ form, channels }: FitPoint): string =>
  channels > 0 ? `${form}, ${percent(channels)} of the channels removed` : form;

const key = (name: string, index: number): Markup =>
  html`<li>
    <svg viewBox="0 0 16 16" aria-hidden="true" class="form-${index % kinds}">
      <path d="${symbol(marks[index % kinds], 70)()!}" transform="translate(8 8)" />
    </svg>
    ${name}
  </li>`;

/** The target, whose label is where there is room for it. */
const targetLine = (x: number, { top, bottom, isRight }: { top: number; bottom: number; isRight: boolean }): Markup =>
  html`<g class="target"
    ><path d="M${short(x)} ${top}V${bottom}" /><text
      x="${short(x + (isRight ? -6 : 6))}"
      y="${top + 12}"
      text-anchor="${isRight ? 'end' : 'start'}"
      >target</text
    ></g
  >`;

/** The least and the largest value, with some room around them. */
function widened(values: readonly number[]): [number, number] {
  const finite = values.filter(Number.isFinite);
  const [low, high] = [-largestOf(finite.map((value) => -value)), largestOf(finite)];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  // Not below 0 if nothing is.
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

const rounded = (value: number): number => Math.round(value * 100) / 100;

/** Units of about the size of a number of bytes. */
const unitFor = (bytes: number): { readonly name: string; readonly bytes: number } =>
  bytes >= 1e6 ? { name: 'MB', bytes: 1e6 } : bytes >= 1e3 ? { name: 'kB', bytes: 1e3 } : { name: 'bytes', bytes: 1 };
