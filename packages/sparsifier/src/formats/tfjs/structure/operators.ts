import type { Axis } from '../../../structure/coupling.js';
import type { Tensor } from '../../../structure/network.js';
import type { Known } from '../../../structure/numbers.js';
import { Weights } from '../../../structure/weights.js';
import type { Node } from '../../onnx/graph.js';
import { productOf } from '../../../model/numbers.js';
import { unary } from '../../onnx/structure/operators/elementwise.js';
import { along } from '../../onnx/structure/operators/known.js';
import { operators as onnxOperators } from '../../onnx/structure/operators/table.js';
import { Misfit, Unknown, type Operator, type Site } from '../../onnx/structure/site.js';

/** The weights of a recurrent layer and its sizes. The gates lie one after another along the last axis of each weight. */
function recurrentParts(site: Site) {
  const [x, kernel, recurrent] = [site.input(0), site.input(1), site.input(3)];
  const [batch, steps, size] = x.shape as [number, number, number];
  const units = recurrent.shape[0]!;
  const rows = units * site.integer('gates', 1);
  if (x.shape.length !== 3 || size !== kernel.shape[0] || kernel.shape[1] !== rows || recurrent.shape[1] !== rows)
    throw new Misfit('its weights do not fit');
  return { x, kernel, recurrent, bias: site.inputs[2], states: site.inputs.slice(4), batch, steps, units, rows };
}

/**
 * A recurrent layer of Keras. Its inputs are x [batch, steps, in], kernel [in, gates * units], the bias or none, recurrent
 * [units, gates * units], and states that it begins with.
 */
const recurrent: Operator = {
  channels: 'end',
  attributes: ['gates', 'content', 'sequences', 'keepsZero'],
  inputs: Infinity,
  shape: (site) => {
    const { batch, steps, units, bias, rows } = recurrentParts(site);
    if (bias !== undefined && bias.shape.at(-1) !== rows) throw new Misfit('its bias does not fit');
    const [first, ...states] = site.node.outputs;
    const own = site.integer('sequences', 0) === 0 ? [batch, units] : [batch, steps, units];
    return [...(first ? [own] : []), ...states.map(() => [batch, units])];
  },
  couple: (site) => {
    const { coupling, title } = site;
    const { x, kernel, recurrent, bias, states, steps, units } = recurrentParts(site);
    const hidden = coupling.axis(units);
    const byGate = (axis: Axis) => {
      for (const [index, id] of axis.entries()) coupling.join(id, hidden[index % units]!);
    };
    for (const axis of [kernel.axes[1]!, recurrent.axes[0]!, recurrent.axes[1]!]) byGate(axis);
    if (bias !== undefined) byGate(bias.axes.at(-1)!);
    const [batch, time, inner] = x.axes as [Axis, Axis, Axis];
    for (const state of states) {
      byGate(state!.axes[1]!);
      coupling.couple(state!.axes[0]!, batch);
    }
    coupling.block(time, title);
    coupling.couple(inner, kernel.axes[0]!);
    const weightsOf = (weight: Tensor, isOwn: boolean) =>
      weight.view && new Weights({ view: weight.view, from: 0, to: 1, outputs: weight.axes[1]!, groups: 1, isOwn });
    const reads = { title, operator: site };
    site.flow.readers.push({
      ...reads,
      ...{ axis: inner, known: along(x, 2), weights: weightsOf(kernel, site.isOwn(1)) },
      folds: bias?.view !== undefined,
    });
    const known = zeroUnits(site);
    site.flow.readers.push({ ...reads, axis: hidden, known, weights: weightsOf(recurrent, false), folds: false });
    const isWhole = site.integer('sequences', 0) !== 0;
    return site.node.outputs.map((_, place) =>
      place === 0 && isWhole ? [batch, coupling.fixed(steps, title), hidden] : [batch, hidden],
    );
  },
  constant: (site, outputs) => {
    const known = zeroUnits(site);
    return outputs.map(({ shape }) => known && { ...known, axis: shape.length - 1 });
  },
};

/** The units that are 0 at each step: those whose new content is, if they begin with 0. */
function zeroUnits(site: Site): Known | undefined {
  const { x, kernel, recurrent, bias, states, units } = recurrentParts(site);
  const isKnown = kernel.view && recurrent.view && (bias === undefined || bias.view !== undefined);
  if (!isKnown || site.integer('keepsZero', 0) === 0) return undefined;
  const begins = states.map((state) => along(state!, 1)?.numbers);
  const input = along(x, 2)?.numbers;
  const numbers = new Float64Array(units).fill(NaN);
  for (let unit = 0; unit < units; unit++) {
    if (begins.some((begin) => begin?.[unit] !== 0)) continue;
    const column = site.integer('content', 0) * units + unit;
    const hasWeight = ({ view, shape }: Tensor, without?: Float64Array) => {
      const rows = shape.length === 1 ? 1 : shape[0]!;
      const [step, along] = shape.length === 1 ? [0, view!.strides[0]!] : [view!.strides[0]!, view!.strides[1]!];
      for (let row = 0; row < rows; row++) {
        if (without?.[row] !== 0 && !view!.stored.isZero(row * step + column * along)) return true;
      }
      return false;
    };
    if (!hasWeight(kernel, input) && !hasWeight(recurrent) && (bias === undefined || !hasWeight(bias)))
      numbers[unit] = 0;
  }
  return numbers.includes(0) ? { axis: 1, numbers } : undefined;
}

/** Couples the last axes of two values: those of two layers with one number of units. */
const sameUnits: Operator = {
  attributes: [],
  inputs: 2,
  shape: (site) => [site.input(0).shape, site.input(1).shape],
  couple: (site) => {
    const [one, other] = [site.input(0).axes, site.input(1).axes];
    site.coupling.couple(one.at(-1)!, other.at(-1)!);
    return [one, other];
  },
  constant: (site) => [site.input(0).known, site.input(1).known],
};

/** Gives a value the sizes of space that a list has. Its other sizes follow from those of the value. */
const sized: Operator = {
  channels: 'moved',
  attributes: [],
  inputs: 2,
  shape: (site) => {
    const sizes = site.list(1)!;
    const { shape } = site.input(0);
    if (sizes.length !== shape.length || sizes[0] !== shape[0] || !sizes.every((size) => size > 0))
      throw new Misfit('its sizes do not fit');
    return [sizes];
  },
  couple: (site, [shape]) => {
    const { shape: before, axes } = site.input(0);
    const isOpen = (axis: Axis, place: number) => before[place] === shape![place] && site.coupling.isOpen(axis);
    return [axes.map((axis, place) => (isOpen(axis, place) ? axis : site.coupling.fixed(shape![place]!, site.title)))];
  },
  constant: (site, [{ shape }]) => {
    const { known, shape: before } = site.input(0);
    return known !== undefined && before[known.axis] === shape[known.axis]
      ? { ...known, spread: undefined }
      : undefined;
  },
  rewrite: (_, [output], cut) => ({ lists: new Map([[1, output!.axes.map((axis) => cut.sizeOf(axis))]]) }),
};

/**
 * Moves places of space to the batch, with borders of 0, or back. The axes of space follow that of the batch, and those of channels
 * follow them.
 */
const betweenSpaceAndBatch = (isBack: boolean): Operator => ({
  channels: 'moved',
  attributes: ['block', 'borders'],
  inputs: 1,
  shape: (site) => {
    const [block, borders] = [site.integers('block') ?? [], site.integers('borders') ?? []];
    const { shape } = site.input(0);
    if (shape.length <= block.length + 1) throw new Misfit('its input has too few axes');
    const times = productOf(block);
    const sizes = shape.map((size, axis) => {
      if (axis > block.length) return size;
      // Sizes that were made up need not be multiples.
      if (axis === 0) return isBack ? Math.ceil(size / times) : size * times;
      const [border, step] = [borders[2 * axis - 2]! + borders[2 * axis - 1]!, block[axis - 1]!];
      return isBack ? size * step - border : Math.ceil((size + border) / step);
    });
    if (!sizes.every((size) => size > 0)) throw new Misfit('its sizes do not fit');
    return [sizes];
  },
  couple: (site, [shape]) => {
    const count = site.integers('block')?.length ?? 0;
    const { axes } = site.input(0);
    return [axes.map((axis, place) => (place > count ? axis : site.coupling.fixed(shape![place]!, site.title)))];
  },
  constant: (site) => {
    const { known } = site.input(0);
    if (known === undefined || known.axis <= (site.integers('block')?.length ?? 0)) return undefined;
    const numbers = isBack ? known.numbers : known.numbers.map((number) => (number === 0 ? 0 : NaN));
    return { axis: known.axis, numbers };
  },
});

/** Passes on a value. The channels along some axes can be made to stay. */
const identity: Operator = {
  ...onnxOperators.get('Identity')!,
  attributes: ['stays'],
  couple: (site) => {
    site.block(site.input(0), site.integers('stays') ?? []);
    return [site.input(0).axes];
  },
};

/** Passes on a value whose channels stay: those along some axes, or all. */
export const staying: Operator = {
  attributes: ['stays'],
  inputs: 1,
  shape: (site) => [site.input(0).shape],
  couple: (site) => {
    site.block(site.input(0), site.integers('stays'));
    return [site.input(0).axes];
  },
  constant: (site) => site.input(0).known,
};

/**
 * A layer without a rule: all that it touches stays. What follows it is followed as if it kept the shape of its inputs; where
 * that is wrong, the weights of a layer that reads it do not fit, which then has no rule either.
 */
export const opaque: Operator = {
  channels: 'end',
  attributes: ['values'],
  inputs: Infinity,
  shape: (site) => {
    const [first, ...others] = site.inputs.slice(0, site.integer('values', Infinity));
    const isSame = others.every((other) => other?.shape.join() === first?.shape.join());
    // Of an axis of size 1, it is not known whether it is repeated in what it meets.
    if (first === undefined || !isSame || first.shape.length < 2 || first.shape.slice(1).includes(1))
      throw new Unknown('the shape of its output is unknown');
    return site.node.outputs.map(() => first.shape);
  },
  couple: (site, shapes) => {
    for (const tensor of site.inputs) site.block(tensor);
    return shapes.map((shape) => site.fixed(shape));
  },
  constant: () => undefined,
};

/** The same where the shape of what follows may not be guessed. */
export const opaqueOfAnyShape: Operator = {
  ...opaque,
  filtersEach: ({ attributes }) => attributes.get('depthwise')?.integer === 1,
  shape: () => [],
};

/**
 * A batch normalisation of which it is only known what masks have to know. Its inputs are x, gamma and beta, of which each
 * may be missing; they are along the axis of the attribute, or along the last ones.
 */
const normalization: Operator = {
  ...staying,
  attributes: ['axis'],
  inputs: 3,
  parameters: ({ inputs, attributes }, input) => {
    const axis = attributes.get('axis')?.integer;
    const parts = [{ input: 1, part: 'gamma' } as const, { input: 2, part: 'beta' } as const];
    return parts
      .filter((part) => input === 0 && inputs[part.input] !== undefined)
      .map((part) => (axis === undefined ? part : { ...part, axis }));
  },
  constant: (site) => {
    const [gamma, beta] = [1, 2].map((place) => site.inputs[place] && along(site.inputs[place], 0)?.numbers);
    const isMissing = site.node.inputs[2] === undefined;
    const numbers = gamma?.map((factor, index) => (factor === 0 ? (isMissing ? 0 : (beta?.[index] ?? NaN)) : NaN));
    return numbers && { axis: site.input(0).shape.length - 1, numbers };
  },
};

/** The input of a node without a rule that is the weight of its layer, if it has one. */
export const weightOfOpaque = ({ attributes }: Node): number | undefined => attributes.get('values')?.integer;

/** The operators that networks are translated to: those of ONNX, of which recurrent ones are laid out as in Keras. */
export const operators: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ...onnxOperators,
  ...['LSTM', 'GRU', 'SimpleRNN'].map((op) => [op, recurrent] as const),
  ['Identity', identity],
  ['Expm1', unary(Math.expm1, { isMonotone: true })],
  ['Log1p', unary(Math.log1p, { isMonotone: true })],
  ['SpaceToBatch', betweenSpaceAndBatch(false)],
  ['BatchToSpace', betweenSpaceAndBatch(true)],
  ['Sized', sized],
  ['SameUnits', sameUnits],
  ['Normalization', normalization],
]);
