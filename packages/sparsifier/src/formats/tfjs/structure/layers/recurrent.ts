import type { Value } from '../../../onnx/graph.js';
import { LayerSite, type LayerRule } from '../layer.js';
import { Untranslated } from '../translation.js';
import { valueOfZero } from './activations.js';

const keys = [
  ...['units', 'activation', 'recurrent_activation', 'use_bias', 'unit_forget_bias', 'dropout', 'recurrent_dropout'],
  ...['implementation', 'return_sequences', 'return_state', 'go_backwards', 'unroll', 'reset_after', 'use_cudnn'],
  ...['input_dim', 'input_length', 'zero_output_for_mask'],
];

/** @param content the gate whose activation is the new content of a unit */
const recurrent = (op: string, gates: number, content: number, states: number): LayerRule => ({
  keys,
  translate: (site) => {
    const { config } = site;
    site.needsRank(3);
    const [x, ...given] = site.inputs;
    if (given.length !== 0 && given.length !== states) throw new Untranslated(`its ${given.length + 1} inputs`);
    const [kernel, own] = [site.entry('kernel'), site.entry('recurrent_kernel')];
    site.sized('units', own, 0);
    // A function of all units would mix them.
    if (gates > 1) valueOfZero(config.recurrent_activation ?? 'hard_sigmoid');
    const keepsZero = valueOfZero(config.activation ?? 'tanh') === 0;
    const isWhole = config.return_sequences === true;
    const bias = site.bias();
    const outputs = site.translation.nodes(
      op,
      site.name,
      [x, site.translation.weight(kernel), bias, site.translation.weight(own), ...given],
      { gates, content, sequences: isWhole ? 1 : 0, keepsZero: keepsZero ? 1 : 0 },
      [isWhole ? 3 : 2, ...(config.return_state === true ? Array<number>(states).fill(2) : [])],
    );
    if (bias !== undefined) site.foldsInto(outputs[0]!, site.translation.makerOf(outputs[0]!)!, 2);
    return outputs;
  },
});

export const recurrentLayers: Readonly<Record<string, LayerRule>> = {
  LSTM: recurrent('LSTM', 4, 2, 2),
  GRU: recurrent('GRU', 3, 2, 1),
  SimpleRNN: recurrent('SimpleRNN', 1, 0, 1),
};

/** How the outputs of both directions become one. */
const merges: Readonly<Record<string, (site: LayerSite, values: readonly Value[]) => Value>> = {
  concat: (site, values) => site.node('Concat', values, { axis: -1 }),
  sum: (site, values) => site.node('Sum', values),
  ave: (site, values) => site.node('Mean', values),
  mul: (site, values) => site.node('Mul', values),
};

/** Two layers with the same config. @param directions those of the wrapper, with weights of their own */
export function bidirectional(site: LayerSite, directions: readonly LayerSite[]): readonly Value[] {
  site.check(['layer', 'backward_layer', 'merge_mode']);
  const [forward, backward] = directions;
  const rule = forward && recurrentLayers[forward.type];
  if (rule === undefined || backward?.type !== forward!.type) throw new Untranslated('its layer');
  if (forward!.config.return_state === true || site.inputs.length !== 1) throw new Untranslated('its states');
  const mode = site.config.merge_mode === null ? null : site.text('merge_mode', 'concat');
  if (mode !== null && !Object.hasOwn(merges, mode)) throw new Untranslated('its option merge_mode');
  const values = [forward!, backward].map((each) => {
    each.check(rule.keys);
    return [rule.translate(each)].flat()[0]!;
  });
  const rank = site.translation.rankOf(values[0]);
  const same = site.translation.nodes('SameUnits', site.name, values, {}, [rank, rank]);
  return mode === null ? same : [merges[mode]!(site, same)];
}
