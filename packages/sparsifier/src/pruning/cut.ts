import { maskBytes } from '../engine/record.js';
import { inSlices, stepsAtATime } from '../host/slices.js';
import type { Role } from '../model/model.js';
import { productOf } from '../model/numbers.js';
import { granularitiesOf } from '../options/granularity.js';
import { unitsOfTensor, type RowMask, type Units } from '../options/units.js';
import { maskOf } from './bits.js';
import type { CoupledLayer } from './groups.js';

/** What is left of a layer without some channels. */
export interface CutLayer {
  readonly rows: RowMask;
  /** A unit is the weights between an input and an output channel. */
  readonly units: Units;
  /** Which of them are kept: those between channels that are. */
  readonly mask: Uint8Array;
}

/** Removes channels from a layer: the weights that make them, and those that read them. */
export async function cutLayer(layer: CoupledLayer, gone: ReadonlySet<number>): Promise<CutLayer> {
  const { tensor, rows, reads } = layer;
  const units = unitsOfTensor(tensor, granularitiesOf(tensor.kind).includes('kernel') ? 'kernel' : 'weight');
  const isRowGone = Array.from(rows, (channel) => gone.has(channel));
  // Weights that several operators read go only where none of them needs the input.
  const isInputGone = Array.from(reads[0] ?? [], (_, input) => reads.every((read) => gone.has(read[input]!)));
  const mask = new Uint8Array(maskBytes(productOf(units.shape))).fill(255);
  const axes = pairAxes(layer, units.shape).filter(({ rowAt }) => rowAt.length > 1);
  const last = axes.pop() ?? { rowAt: [0], inputAt: [0] };
  const length = last.rowAt.length;
  const lines = productOf(axes.map(({ rowAt }) => rowAt.length));
  const cut = (from: number, to: number) => {
    for (let line = from; line < to; line++) {
      let [rest, row, input] = [line, 0, 0];
      for (let axis = axes.length - 1; axis >= 0; axis--) {
        const { rowAt, inputAt } = axes[axis]!;
        const index = rest % rowAt.length;
        rest = (rest - index) / rowAt.length;
        row += rowAt[index]!;
        input += inputAt[index]!;
      }
      for (let index = 0, pair = line * length; index < length; index++, pair++) {
        if (isRowGone[row + last.rowAt[index]!] === true || isInputGone[input + last.inputAt[index]!] === true)
          mask[pair >> 3]! &= ~(1 << (pair & 7));
      }
    }
  };
  await inSlices(lines, cut, Math.ceil(stepsAtATime / length));
  return { rows: { units: layer.units, mask: maskOf(isRowGone.map((isGone) => !isGone)) }, units, mask };
}

/** An axis of the weights between channels: by index, what it adds to the number of the output and of the input. */
interface PairAxis {
  readonly rowAt: readonly number[];
  readonly inputAt: readonly number[];
}

function pairAxes({ tensor, units, reads }: CoupledLayer, shape: readonly number[]): PairAxis[] {
  const { roles, groups } = tensor;
  const inputs = shape[roles.indexOf('in')] ?? 1;
  // A transposed convolution stores the inputs of all groups along one axis, any other those of one.
  const isGrouped = groups > 1 && reads[0]?.length === inputs * groups;
  const inputOf = (role: Role, index: number, size: number): number => {
    if (role === 'in') return index;
    return role === 'out' && isGrouped ? Math.floor((index * groups) / size) * inputs : 0;
  };
  return shape.map((size, axis): PairAxis => {
    const count = units.shape[axis]!;
    const stride = productOf(units.shape.slice(axis + 1));
    const indices = Array.from({ length: size }, (_, index) => index);
    return {
      rowAt: indices.map((index) => Math.floor((index * count) / size) * stride),
      inputAt: indices.map((index) => inputOf(roles[axis]!, index, size)),
    };
  });
}
