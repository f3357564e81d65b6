import type { Axis } from '../../../../structure/coupling.js';
import type { Known, View } from '../../../../structure/numbers.js';
import { Weights } from '../../../../structure/weights.js';
import { type Operator, type Site, Unknown } from '../site.js';
import { along } from './known.js';

/** A recurrent operator. */
interface Cell {
  /** The gate of the new content, of which tanh is taken: without weights and bias a unit that begins with 0 stays 0. */
  readonly content: number;
  /** How many states it gives and takes after its sequence. */
  readonly states: number;
  readonly attributes: readonly string[];
  /** The functions of a direction, in the order of the attribute. That of the new content gives 0 for 0. */
  readonly activations: readonly string[];
}

const sizes = (site: Site) => {
  const [x, w, r] = [site.input(0), site.input(1), site.input(2)];
  if (site.integer('layout', 0) !== 0) throw new Unknown('its layout');
  return { steps: x.shape[0]!, batch: x.shape[1]!, directions: w.shape[0]!, units: r.shape[2]! };
};

const recurrent = ({ content, states, attributes, activations }: Cell): Operator => ({
  channels: 'end',
  attributes: ['direction', 'hidden_size', 'layout', 'clip', 'activations', ...attributes],
  inputs: 6 + states,
  shape: (site) => {
    const { steps, batch, directions, units } = sizes(site);
    const functions = site.node.attributes.get('activations')?.texts ?? [];
    if (functions.some((name, place) => name.toLowerCase() !== activations[place % activations.length]))
      throw new Unknown('its activations');
    if (site.node.inputs[4] !== undefined && site.inputs[4] === undefined) throw new Unknown('its lengths');
    return [
      [steps, directions, batch, units],
      ...Array.from({ length: states }, () => [directions, batch, units]),
    ].slice(0, site.node.outputs.length);
  },
  couple: (site) => {
    const { coupling, title } = site;
    const { steps, directions, units } = sizes(site);
    const [x, w, r, bias] = [site.input(0), site.input(1), site.input(2), site.inputs[3]];
    const hidden = coupling.axis(units);
    const byGate = (axis: Axis) => {
      for (const [index, id] of axis.entries()) coupling.join(id, hidden[index % units]!);
    };
    byGate(w.axes[1]!);
    byGate(r.axes[1]!);
    byGate(r.axes[2]!);
    if (bias !== undefined) byGate(bias.axes[1]!);
    const rest = site.inputs.slice(4);
    for (const state of rest.slice(1, 1 + states)) {
      if (state === undefined) continue;
      byGate(state.axes[2]!);
      coupling.couple(state.axes[1]!, x.axes[1]!);
    }
    if (rest[1 + states] !== undefined) byGate(rest[1 + states]!.axes[1]!);
    coupling.couple(x.axes[2]!, w.axes[2]!);
    const reads = { title, operator: site };
    const isPlain = site.node.inputs[4] === undefined;
    site.flow.readers.push({
      ...reads,
      axis: x.axes[2]!,
      known: along(x, 2),
      weights: w.view && rowsOf(w.view, w.axes[1]!, isPlain),
      folds: isPlain && (bias === undefined || bias.view !== undefined),
    });
    site.flow.readers.push({
      ...reads,
      axis: hidden,
      known: knownUnits(site, content, states),
      weights: r.view && new Weights({ view: r.view, from: 2, to: 1, outputs: r.axes[1]!, groups: 1, isOwn: false }),
      folds: false,
    });
    const [time, batch, way] = [coupling.fixed(steps, title), x.axes[1]!, coupling.fixed(directions, title)];
    return [[time, way, batch, hidden], ...Array.from({ length: states }, () => [way, batch, hidden])].slice(
      0,
      site.node.outputs.length,
    );
  },
  constant: (site) => {
    const known = knownUnits(site, content, states);
    return site.node.outputs.map((_, place) => known && { ...known, axis: place === 0 ? 3 : 2 });
  },
  rewrite: (_, [output], cut) => ({
    attributes: { hidden_size: cut.sizeOf(output!.axes.at(-1)!) },
  }),
});

/** The weights of a sequence, those of both directions among each other. */
function rowsOf({ stored, shape, strides }: View, rows: Axis, isOwn: boolean): Weights {
  const [directions, count, size] = shape as [number, number, number];
  const outputs = Int32Array.from({ length: directions * count }, (_, row) => rows[row % count]!);
  const view = { stored, shape: [directions * count, size], strides: [strides[1]!, strides[2]!] };
  return new Weights({ view, from: 1, to: 0, outputs, groups: 1, isOwn });
}

/** The units that are 0 at each step: those whose new content is, if they begin with 0. */
function knownUnits(site: Site, content: number, states: number): Known | undefined {
  const [w, r, bias] = [site.input(1), site.input(2), site.inputs[3]];
  if (!w.view || !r.view || (bias !== undefined && !bias.view)) return undefined;
  const { directions, units } = sizes(site);
  const starts = site.inputs.slice(5, 5 + states).map((state) => state && along(state, 2)?.numbers);
  const isGiven = site.node.inputs.slice(5, 5 + states).map((value) => value !== undefined);
  const gates = w.shape[1]! / units;
  const input = along(site.input(0), 2)?.numbers;
  const numbers = new Float64Array(units).fill(NaN);
  for (let unit = 0; unit < units; unit++) {
    if (isGiven.some((given, state) => given && starts[state]?.[unit] !== 0)) continue;
    let isZero = true;
    for (let way = 0; way < directions && isZero; way++) {
      const row = content * units + unit;
      for (const [{ view }, known] of [
        [w, input],
        [r, undefined],
      ] as const) {
        const size = view!.shape[2]!;
        for (let index = 0; index < size && isZero; index++) {
          if (known?.[index] === 0) continue;
          const at = way * view!.strides[0]! + row * view!.strides[1]! + index * view!.strides[2]!;
          isZero = view!.stored.at(at) === 0;
        }
      }
      for (const half of [0, gates]) {
        if (bias?.view === undefined || !isZero) continue;
        const at = way * bias.view.strides[0]! + (half * units + row) * bias.view.strides[1]!;
        isZero = bias.view.stored.at(at) === 0;
      }
    }
    if (isZero) numbers[unit] = 0;
  }
  return numbers.some((number) => number === 0) ? { axis: 2, numbers } : undefined;
}

/** Gates in the order of ONNX: LSTM input, output, forget, cell; GRU update, reset, hidden. */
export const recurrents: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  [
    'LSTM',
    recurrent({ content: 3, states: 2, attributes: ['input_forget'], activations: ['sigmoid', 'tanh', 'tanh'] }),
  ],
  ['GRU', recurrent({ content: 2, states: 1, attributes: ['linear_before_reset'], activations: ['sigmoid', 'tanh'] })],
  ['RNN', recurrent({ content: 0, states: 1, attributes: [], activations: ['tanh'] })],
]);
