import type { Place } from '../masks/tracks.js';
import type { Operator, Parameter } from '../site.js';
import { filtersEach } from './convolutions.js';
import { broadcast, constants, elementwise, fastGelu, gelu, sigmoid, unary } from './elementwise.js';
import { unfollowed } from './unfollowed.js';

/** An operator that adds a bias of its own to inputs, and then combines them with other values. */
const merging = (bias: number, data: readonly number[], within?: (input: number) => Parameter['within']): Operator =>
  unfollowed({
    channels: 'end',
    parameters: (_, input) =>
      data.includes(input)
        ? [{ input: bias, part: 'bias', ...(within === undefined ? {} : { within: within(input)! }) }]
        : [],
  });

/** The bias of query, key and value, one after another. Those of query and key have one size. */
const partOfThree =
  (input: number) =>
  (place: Place, size: number | undefined): Place | undefined => {
    if (place.axis !== 1 || typeof place.size !== 'number' || size === undefined) return undefined;
    const start = [0, place.size, size - place.size][input]!;
    return { ...place, size, offset: place.offset + start };
  };

/** Operators of ONNX Runtime. */
export const contributed: ReadonlyMap<string, Operator> = new Map<string, Operator>(
  Object.entries({
    Gelu: elementwise.get('Gelu')!,
    QuickGelu: unary((x, site) => x * sigmoid(site.float('alpha', 1.702) * x), { attributes: ['alpha'] }),
    BiasGelu: { ...broadcast(([x, bias]) => gelu(x! + bias!)), parameters: constants('bias') },
    FastGelu: { ...broadcast(([x, bias = 0]) => fastGelu(x! + bias)), parameters: constants('bias') },
    FusedConv: unfollowed({ channels: 'end', filtersEach }),
    BiasAdd: merging(1, [0]),
    SkipLayerNormalization: merging(4, [0, 1]),
    SkipSimplifiedLayerNormalization: merging(3, [0, 1]),
    MultiHeadAttention: merging(3, [0, 1, 2], partOfThree),
  }).map(([name, operator]) => [`com.microsoft.${name}`, operator]),
);
