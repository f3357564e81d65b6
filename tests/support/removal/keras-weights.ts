import { tf } from '../tfjs.js';
import { Random } from './random.js';

/** How the filters of a network are zeroed. */
export interface Masking {
  readonly share: number;
  /** Whether all layers lose the same indices. */
  readonly isCommon: boolean;
  /** How often biases and normalisations go, too. */
  readonly withVectors: number;
  readonly columns: number;
}

export function maskingOf(seed: number): Masking {
  const random = new Random(seed, 3000);
  return {
    share: random.pick([0.2, 0.4, 0.4, 0.6, 1]),
    isCommon: random.chance(0.75),
    withVectors: random.pick([0, 0.3, 0.9, 0.9]),
    columns: random.pick([0, 0, 0.1, 0.4]),
  };
}

/** Gives a model random weights of which some filters are 0. */
export function fill(model: tf.LayersModel, seed: number, masking: Masking): void {
  const common = new Random(seed, 3001);
  const dead = Array.from({ length: 64 }, () => common.chance(masking.share));
  for (const [place, weight] of model.weights.entries()) {
    const random = new Random(seed, 4000 + place);
    const shape = weight.shape as number[];
    const name = weight.originalName.split('/').at(-1)!;
    const count = shape.reduce((product, each) => product * each, 1);
    const fan = shape.slice(0, -1).reduce((product, each) => product * each, 1);
    const numbers = random.normals(count, shape.length > 1 ? 1 / Math.sqrt(fan) : 0.7);
    if (name === 'moving_variance') for (const at of numbers.keys()) numbers[at] = 0.3 + Math.abs(numbers[at]!);
    const isVector = shape.length === 1 && name !== 'moving_variance' && name !== 'moving_mean';
    const isMasked = shape.length > 1 || (isVector && random.chance(masking.withVectors));
    const own = Array.from({ length: 64 }, () => random.chance(masking.share));
    const goes = (index: number) => (masking.isCommon ? dead : own)[index % 64]!;
    if (isMasked) {
      const last = shape.at(-1)!;
      const isDepthwise = name.startsWith('depthwise');
      const isTransposed = weight.originalName.startsWith('transpose');
      // The gates of recurrent layers lie one after another.
      const isRecurrent = /recurrent|forward|backward|both/.test(weight.originalName);
      const units = isRecurrent ? unitsOf(model, weight.originalName) : undefined;
      for (const at of numbers.keys()) {
        const index = at % last;
        const before = Math.floor(at / last) % (shape.at(-2) ?? 1);
        const channel = isDepthwise ? before * last + index : isTransposed && shape.length > 1 ? before : index;
        if (goes(units ? channel % units : channel)) numbers[at] = 0;
      }
      if (shape.length > 1 && random.chance(masking.columns)) {
        const rows = shape.at(-2)!;
        const gone = random.between(0, rows - 1);
        for (const at of numbers.keys()) if (Math.floor(at / last) % rows === gone) numbers[at] = 0;
      }
    }
    (weight.read() as tf.Variable).assign(tf.tensor(numbers, shape));
  }
}

function unitsOf(model: tf.LayersModel, name: string): number | undefined {
  const own = model.weights.filter((weight) =>
    weight.originalName.startsWith(name.slice(0, name.lastIndexOf('/') + 1)),
  );
  return own.find((weight) => weight.originalName.includes('recurrent_kernel'))?.shape[0] ?? undefined;
}
