// Operators of networks over space: values of batch x channels x sizes.
import {
  floatAttribute,
  floatsAttribute,
  integerAttribute,
  integersAttribute,
  textAttribute,
} from '../onnx-builder.js';
import type { Network, Value } from './network.js';
import { conclusion, isFixedAt, operator, type RandomOperator } from './operators.js';

type Sizes = Pick<Value, 'shape' | 'symbols'>;

const isSpatial = ({ shape, symbols }: Value) => shape.length >= 3 && shape.length <= 5 && symbols[1] === undefined;
const spaceOf = ({ shape }: Value) => shape.slice(2);

/** A value with other sizes of space; an axis with a name gets a new one where its size changes. */
function resized(net: Network, value: Value, channels: number, sizes: readonly number[]): Sizes {
  const shape = [value.shape[0]!, channels, ...sizes];
  const symbols = shape.map((size, axis) => {
    const symbol = value.symbols[axis];
    return axis < 2 || symbol === undefined || size === value.shape[axis] ? symbol : net.name('d');
  });
  symbols[1] = undefined;
  return { shape, symbols };
}

interface Windows {
  readonly attributes: Uint8Array[];
  readonly sizes: readonly number[];
}

/** Random windows that fit; undefined where they do not. */
function windows(
  net: Network,
  value: Value,
  kernel: readonly number[],
  { isPool = false, hasDilations = true } = {},
): Windows | undefined {
  const { random } = net;
  const sizes = spaceOf(value);
  const strides = sizes.map(() => (random.chance(0.7) ? 1 : 2));
  const dilations = sizes.map(() => (hasDilations && random.chance(0.15) ? 2 : 1));
  const span = kernel.map((length, axis) => (length - 1) * dilations[axis]! + 1);
  const attributes = [integersAttribute('kernel_shape', kernel)];
  if (strides.some((stride) => stride > 1)) attributes.push(integersAttribute('strides', strides));
  if (dilations.some((dilation) => dilation > 1)) attributes.push(integersAttribute('dilations', dilations));
  const auto = random.chance(0.15) && dilations.every((dilation) => dilation === 1);
  if (auto) {
    attributes.push(textAttribute('auto_pad', random.pick(['SAME_UPPER', 'SAME_LOWER'])));
    return { attributes, sizes: sizes.map((size, axis) => Math.ceil(size / strides[axis]!)) };
  }
  const pads = [...kernel, ...kernel].map((length) => (random.chance(0.5) ? 0 : random.between(0, length - 1)));
  if (pads.some((pad) => pad > 0)) attributes.push(integersAttribute('pads', pads));
  const ceil = isPool && net.opset >= 10 && random.chance(0.2);
  if (ceil) attributes.push(integerAttribute('ceil_mode', 1));
  const after = sizes.map((size, axis) => {
    const padded = size + pads[axis]! + pads[axis + sizes.length]! - span[axis]!;
    if (padded < 0) return 0;
    const steps = (ceil ? Math.ceil : Math.floor)(padded / strides[axis]!) + 1;
    return ceil && (steps - 1) * strides[axis]! >= size + pads[axis]! ? steps - 1 : steps;
  });
  return after.every((size) => size > 0) ? { attributes, sizes: after } : undefined;
}

function convolution(net: Network, value: Value, { isDepthwise = false, outputs = 0 } = {}): Value | undefined {
  const { random } = net;
  const channels = value.shape[1]!;
  const groups = isDepthwise ? channels : channels % 2 === 0 && random.chance(0.2) ? 2 : 1;
  const count =
    outputs ||
    (isDepthwise
      ? channels * random.pick([1, 1, 2])
      : groups * (random.chance(0.1) ? random.between(8, 16) : random.between(1, 6)));
  const kernel = spaceOf(value).map(() => random.pick([1, 1, 2, 3]));
  const made = windows(net, value, kernel);
  if (made === undefined || count % groups > 0) return undefined;
  const stored = net.weight([count, channels / groups, ...kernel], 0, 1);
  // Numbers that the network computes.
  const computed = (name: string) => (random.chance(0.03) ? net.hidden('Neg', [name]) : name);
  const weight = computed(stored);
  const bias = random.chance(0.7) ? [computed(net.vector(count))] : [];
  if (groups > 1) made.attributes.push(integerAttribute('group', groups));
  return net.node('Conv', [value, weight, ...bias], resized(net, value, count, made.sizes), made.attributes);
}

function transposed(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const sizes = spaceOf(value);
  const channels = value.shape[1]!;
  const groups = channels % 2 === 0 && random.chance(0.2) ? 2 : 1;
  const perGroup = random.between(1, 5);
  const kernel = sizes.map(() => random.between(1, 3));
  const strides = sizes.map(() => random.between(1, 2));
  const pads = [...kernel, ...kernel].map((length) => (length > 1 && random.chance(0.3) ? 1 : 0));
  const extra = strides.map((stride) => (stride > 1 && random.chance(0.3) ? 1 : 0));
  const after = sizes.map(
    (size, axis) =>
      (size - 1) * strides[axis]! + kernel[axis]! + extra[axis]! - pads[axis]! - pads[axis + sizes.length]!,
  );
  if (after.some((size) => size < 1)) return undefined;
  const auto = random.chance(0.1) && extra.every((size) => size === 0);
  const attributes = [integersAttribute('strides', strides)];
  if (auto) {
    attributes.push(textAttribute('auto_pad', random.pick(['SAME_UPPER', 'SAME_LOWER'])));
    // As the runtime has it where windows leave gaps.
    for (const [axis, size] of sizes.entries())
      after[axis] = Math.min(size * strides[axis]!, (size - 1) * strides[axis]! + kernel[axis]!);
  } else attributes.push(integersAttribute('pads', pads));
  if (extra.some((size) => size > 0)) attributes.push(integersAttribute('output_padding', extra));
  if (groups > 1) attributes.push(integerAttribute('group', groups));
  const weight = net.weight([channels, perGroup, ...kernel], 1, 0);
  const bias = random.chance(0.6) ? [net.vector(perGroup * groups)] : [];
  return net.node('ConvTranspose', [value, weight, ...bias], resized(net, value, perGroup * groups, after), attributes);
}

function pool(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const op = random.pick(['MaxPool', 'AveragePool']);
  const kernel = spaceOf(value).map(() => random.between(1, 3));
  const made = windows(net, value, kernel, { isPool: true, hasDilations: op === 'MaxPool' && net.opset >= 10 });
  if (made === undefined) return undefined;
  if (op === 'AveragePool' && random.chance(0.4)) made.attributes.push(integerAttribute('count_include_pad', 1));
  return net.node(op, [value], resized(net, value, value.shape[1]!, made.sizes), made.attributes);
}

function globalPool(net: Network, value: Value): Value {
  const ones = spaceOf(value).map(() => 1);
  const shape = [value.shape[0]!, value.shape[1]!, ...ones];
  const symbols = [value.symbols[0], ...shape.slice(1).map(() => undefined)];
  return net.node(net.random.pick(['GlobalAveragePool', 'GlobalMaxPool']), [value], { shape, symbols });
}

function gate(net: Network, value: Value): Value {
  const { random } = net;
  const channels = value.shape[1]!;
  const pooled = globalPool(net, value);
  const ones = spaceOf(value).map(() => 1);
  const inner = random.between(1, 5);
  const layer = (input: Value, from: number, to: number) =>
    net.node('Conv', [input, net.weight([to, from, ...ones], 0, 1), net.vector(to)], {
      ...pooled,
      shape: [pooled.shape[0]!, to, ...ones],
    });
  const hidden = net.node('Relu', [layer(pooled, channels, inner)], {
    ...pooled,
    shape: [pooled.shape[0]!, inner, ...ones],
  });
  const weights = net.node(random.pick(['Sigmoid', 'HardSigmoid', 'Relu']), [layer(hidden, inner, channels)], pooled);
  return net.node('Mul', random.chance(0.5) ? [value, weights] : [weights, value], value);
}

function normalization(net: Network, value: Value): Value {
  const { random } = net;
  const channels = value.shape[1]!;
  if (random.chance(0.75)) {
    const [scale, bias, mean] = [net.vector(channels), net.vector(channels), net.vector(channels)];
    const variance = net.vector(channels, [channels], { isPositive: true });
    return net.node('BatchNormalization', [value, scale, bias, mean, variance], value);
  }
  if (net.opset >= 21 && random.chance(0.5)) {
    return net.node('GroupNormalization', [value, net.vector(channels), net.vector(channels)], value, [
      integerAttribute('num_groups', channels % 2 === 0 ? 2 : channels),
      floatAttribute('epsilon', 0.1),
    ]);
  }
  return net.node('InstanceNormalization', [value, net.vector(channels), net.vector(channels)], value, [
    floatAttribute('epsilon', net.random.pick([0.1, 1e-5])),
  ]);
}

function resize(net: Network, value: Value): Value | undefined {
  const { random, opset } = net;
  const sizes = spaceOf(value);
  if (sizes.length > 2) return undefined;
  const scales = sizes.map(() => random.pick([1, 2, 2, 1.5, 0.5, 0.7]));
  const after = sizes.map((size, axis) => Math.floor(Math.fround(size * Math.fround(scales[axis]!))));
  if (after.some((size) => size < 1)) return undefined;
  const all = [1, 1, ...scales];
  const output = resized(net, value, value.shape[1]!, after);
  if (opset < 10) {
    const larger = all.map((scale) => Math.max(1, scale));
    const wider = resized(
      net,
      value,
      value.shape[1]!,
      sizes.map((size, axis) => Math.floor(size * larger[axis + 2]!)),
    );
    if (opset < 9) return net.node('Upsample', [value], wider, [floatsAttribute('scales', larger)]);
    return net.node('Upsample', [value, net.floats([all.length], Float32Array.from(larger), 'scales')], wider);
  }
  const mode = textAttribute('mode', random.pick(sizes.length === 1 ? ['nearest'] : ['nearest', 'linear', 'linear']));
  if (opset < 11)
    return net.node('Resize', [value, net.floats([all.length], Float32Array.from(all), 'scales')], output, [mode]);
  const attributes = [
    mode,
    textAttribute('coordinate_transformation_mode', random.pick(['half_pixel', 'asymmetric', 'align_corners'])),
  ];
  if (opset >= 18 && random.chance(0.3)) {
    attributes.push(
      integersAttribute(
        'axes',
        sizes.map((_, axis) => axis + 2),
      ),
    );
    return net.node(
      'Resize',
      [value, undefined, net.floats([scales.length], Float32Array.from(scales), 'scales')],
      output,
      attributes,
    );
  }
  const roi = opset < 13 ? net.floats([0], new Float32Array(0), 'none') : undefined;
  const isFixed = value.symbols.every((symbol) => symbol === undefined);
  if (isFixed && random.chance(0.4)) {
    const none = opset < 13 ? net.floats([0], new Float32Array(0), 'none') : undefined;
    return net.node('Resize', [value, roi, none, net.integers(output.shape)], output, attributes);
  }
  return net.node(
    'Resize',
    [value, roi, net.floats([all.length], Float32Array.from(all), 'scales')],
    output,
    attributes,
  );
}

function pad(net: Network, value: Value): Value {
  const { random } = net;
  const rank = value.shape.length;
  const mode = random.pick(['constant', 'constant', 'reflect', 'edge']);
  const pads = Array.from({ length: 2 * rank }, (_, place) => {
    const axis = place % rank;
    if (axis < 2 && !(axis === 1 && random.chance(0.1))) return 0;
    // Less than nothing cuts.
    if (mode === 'constant' && place < rank && value.shape[axis]! > 2 && random.chance(0.1)) return -1;
    return mode === 'reflect' ? random.between(0, Math.min(1, value.shape[axis]! - 1)) : random.between(0, 2);
  });
  const shape = value.shape.map((size, axis) => size + pads[axis]! + pads[axis + rank]!);
  const symbols = value.symbols.map((symbol, axis) =>
    symbol === undefined || shape[axis] === value.shape[axis] ? symbol : net.name('d'),
  );
  const attributes = [textAttribute('mode', mode)];
  const fill = random.pick([undefined, 0, 0.5]);
  if (net.opset < 11) {
    attributes.push(integersAttribute('pads', pads));
    if (fill !== undefined) attributes.push(floatAttribute('value', fill));
    return net.node('Pad', [value], { shape, symbols }, attributes);
  }
  const padded = [...value.shape.keys()].filter((axis) => pads[axis] !== 0 || pads[axis + rank] !== 0);
  if (net.opset >= 18 && mode === 'constant' && padded.length > 0 && random.chance(0.3)) {
    const parts = [0, rank].flatMap((offset) => padded.map((axis) => pads[axis + offset]!));
    const fills = fill === undefined ? undefined : net.floats([], Float32Array.of(fill), 'fill');
    return net.node('Pad', [value, net.integers(parts), fills, net.integers(padded)], { shape, symbols }, attributes);
  }
  const given = fill === undefined || mode !== 'constant' ? [] : [net.floats([], Float32Array.of(fill), 'fill')];
  return net.node('Pad', [value, net.integers(pads), ...given], { shape, symbols }, attributes);
}

function depthToSpace(net: Network, value: Value): Value {
  const [batch, channels, height, width] = value.shape as [number, number, number, number];
  const symbols = [value.symbols[0], undefined, net.name('d'), net.name('d')].map((symbol, axis) =>
    value.symbols[axis] === undefined ? undefined : symbol,
  );
  const mode = net.opset < 11 ? [] : [textAttribute('mode', net.random.pick(['DCR', 'CRD']))];
  return net.node('DepthToSpace', [value], { shape: [batch, channels / 4, 2 * height, 2 * width], symbols }, [
    integerAttribute('blocksize', 2),
    ...mode,
  ]);
}

function spaceToDepth(net: Network, value: Value): Value {
  const [batch, channels, height, width] = value.shape as [number, number, number, number];
  return net.node(
    'SpaceToDepth',
    [value],
    { shape: [batch, channels * 4, height / 2, width / 2], symbols: value.symbols },
    [integerAttribute('blocksize', 2)],
  );
}

function residual(net: Network, value: Value): Value | undefined {
  const channels = value.shape[1]!;
  const ones = spaceOf(value).map(() => 1);
  const branch = net.node(
    'Conv',
    [value, net.weight([channels, channels, ...ones], 0, 1), ...(net.random.chance(0.5) ? [net.vector(channels)] : [])],
    value,
  );
  return net.node('Add', [value, net.random.chance(0.5) ? branch : net.node('Relu', [branch], value)], value);
}

function groupNormalization(net: Network, value: Value): Value | undefined {
  const { shape, symbols } = value;
  if (shape[1]! % 2 > 0 || symbols.some((symbol) => symbol !== undefined)) return undefined;
  const rows = {
    shape: [shape[0]!, 2, (shape[1]! / 2) * spaceOf(value).reduce((product, size) => product * size, 1)],
    symbols: [undefined, undefined, undefined],
  };
  const flat = net.node('Reshape', [value, net.integers([0, 2, -1])], rows);
  const ones = net.floats([2], Float32Array.of(1, 1), 'ones');
  const zeros = net.floats([2], Float32Array.of(0, 0));
  const normal = net.node('InstanceNormalization', [flat, ones, zeros], rows, [
    floatAttribute('epsilon', net.random.pick([0.1, 1e-5])),
  ]);
  return net.node('Reshape', [normal, net.integers(shape)], value);
}

export const spaceOperators: readonly RandomOperator[] = [
  operator(12, isSpatial, (net, value) => convolution(net, value)),
  operator(4, isSpatial, (net, value) => convolution(net, value, { isDepthwise: true })),
  operator(3, isSpatial, transposed),
  operator(4, isSpatial, pool),
  operator(1, isSpatial, globalPool),
  operator(3, isSpatial, gate),
  operator(5, isSpatial, normalization),
  operator(3, isSpatial, resize),
  operator(3, isSpatial, pad),
  operator(3, isSpatial, residual),
  operator(1, isSpatial, groupNormalization),
  operator(2, (value) => isSpatial(value) && value.shape.length === 4 && value.shape[1]! % 4 === 0, depthToSpace),
  operator(
    2,
    (value) =>
      value.shape.length === 4 &&
      isFixedAt(value, 1, 2, 3) &&
      value.shape[2]! % 2 === 0 &&
      value.shape[3]! % 2 === 0 &&
      value.shape[1]! < 9,
    spaceToDepth,
  ),
  operator(
    1,
    (value) => isSpatial(value) && value.shape.length === 4,
    (net, value) => net.node('LRN', [value], value, [integerAttribute('size', 3)]),
  ),
];

/** The last layer over a value of space. */
export const spaceConclusion = conclusion(isSpatial, (net, value) => {
  const ones = spaceOf(value).map(() => 1);
  const { random } = net;
  if (random.chance(0.6)) {
    const shape = [value.shape[0]!, 2, ...spaceOf(value)];
    return net.node('Conv', [value, net.weight([2, value.shape[1]!, ...ones], 0, 1), net.vector(2)], {
      shape,
      symbols: value.symbols,
    });
  }
  const pooled = globalPool(net, value);
  const flat = net.node('Flatten', [pooled], { shape: pooled.shape.slice(0, 2), symbols: pooled.symbols.slice(0, 2) });
  const weight = net.weight([value.shape[1]!, 3], 1, 0);
  return net.node('Gemm', [flat, weight, net.vector(3)], { shape: [value.shape[0]!, 3], symbols: flat.symbols });
});
