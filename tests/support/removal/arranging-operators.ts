// Operators that put numbers elsewhere: joins, parts, changes of shape.
import { integerAttribute, integersAttribute } from '../onnx-builder.js';
import type { Network, Value } from './network.js';
import { anything, isFixed, isFixedAt, operator, productOf, type RandomOperator } from './operators.js';

function concat(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const axes = value.shape.flatMap((_, axis) => (isFixedAt(value, axis) ? [axis] : []));
  const axis = axes.includes(1) && random.chance(0.8) ? 1 : axes[0] === undefined ? -1 : random.pick(axes);
  const others = net.values.filter(
    (other) =>
      other.shape.length === value.shape.length &&
      other.shape.every((size, place) =>
        place === axis
          ? isFixedAt(other, axis)
          : size === value.shape[place] && other.symbols[place] === value.symbols[place],
      ),
  );
  if (axis < 0) return undefined;
  const inputs = Array.from({ length: random.between(1, 3) }, () => random.pick(others)).concat(value);
  if (random.chance(0.15) && isFixed(value)) {
    const own = value.shape.map((size, place) => (place === axis ? 2 : size));
    const constant = net.floats(own, random.normals(productOf(own)));
    const shape = value.shape.map((size, place) => (place === axis ? size + 2 : size));
    return net.node('Concat', [value, constant], { shape, symbols: value.symbols }, [integerAttribute('axis', axis)]);
  }
  const size = inputs.reduce((sum, { shape }) => sum + shape[axis]!, 0);
  if (size > 24) return undefined;
  const shape = value.shape.map((own, place) => (place === axis ? size : own));
  return net.node('Concat', inputs, { shape, symbols: value.symbols }, [
    integerAttribute('axis', random.chance(0.3) ? axis - shape.length : axis),
  ]);
}

const withSize = ({ shape, symbols }: Value, axis: number, size: number) => ({
  shape: shape.map((own, place) => (place === axis ? size : own)),
  symbols,
});

/** Sizes of an axis as a list, computed from the shape. */
export function sizeFrom(
  net: Network,
  value: Value,
  axis: number,
  change: (size: string) => string = (size) => size,
): string {
  const shape = net.hidden('Shape', [value]);
  const index = net.integers([axis]);
  return change(net.hidden('Gather', [shape, index]));
}

function split(net: Network, value: Value): Value | undefined {
  const { random, opset } = net;
  const axes = value.shape.flatMap((size, axis) => (isFixedAt(value, axis) && size > 1 ? [axis] : []));
  if (axes.length === 0) return undefined;
  const axis = axes.includes(1) ? 1 : random.pick(axes);
  const size = value.shape[axis]!;
  const first = random.between(1, size - 1);
  const attributes = [integerAttribute('axis', random.chance(0.3) ? axis - value.shape.length : axis)];
  const parts = (...sizes: number[]) => sizes.map((each) => withSize(value, axis, each));
  if (random.chance(0.4) && (size % 2 === 0 || opset >= 18)) {
    if (opset >= 18) attributes.push(integerAttribute('num_outputs', 2));
    const half = Math.ceil(size / 2);
    return net.nodeOf('Split', [value], parts(half, size - half), attributes)[0];
  }
  const listed = net.listed('split', [first, size - first], 13);
  return net.nodeOf('Split', [value, ...listed.inputs], parts(first, size - first), [
    ...attributes,
    ...listed.attributes,
  ])[1];
}

function slice(net: Network, value: Value): Value | undefined {
  const { random, opset } = net;
  const axes = value.shape.flatMap((size, axis) => (isFixedAt(value, axis) && size > 1 ? [axis] : []));
  if (axes.length === 0) return undefined;
  const axis = axes.includes(1) && random.chance(0.7) ? 1 : random.pick(axes);
  const size = value.shape[axis]!;
  const start = random.between(0, size - 1);
  const end = random.between(start + 1, size);
  /** Limits may be of either type, but of the same. */
  const type = random.chance(0.1) ? 6 : 7;
  const listOf = (list: readonly number[]) =>
    type === 7 ? net.integers(list) : net.hidden('Cast', [net.integers(list)], [integerAttribute('to', type)]);
  const given = (limit: number) =>
    random.chance(0.4) && limit < size ? limit - size : limit === size && random.chance(0.5) ? 2 ** 31 - 1 : limit;
  const step = random.chance(0.15) ? 2 : 1;
  const [starts, ends] = [[given(start)], [given(end)]];
  const count = Math.ceil((end - start) / step);
  if (opset < 10) {
    const attributes = [
      integersAttribute('axes', [axis]),
      integersAttribute('starts', starts),
      integersAttribute('ends', ends),
    ];
    return net.node('Slice', [value], withSize(value, axis, end - start), attributes);
  }
  if (random.chance(0.4) && axis > 0) {
    const half = Math.floor(size / 2);
    const middle = sizeFrom(net, value, axis, (list) => net.hidden('Div', [list, net.integers([2])]));
    const isFirst = random.chance(0.5);
    const whole = random.chance(0.5) ? net.integers([2 ** 53]) : sizeFrom(net, value, axis);
    const inputs = isFirst ? [net.integers([0]), middle] : [middle, whole];
    return net.node(
      'Slice',
      [value, ...inputs, net.integers([axis])],
      withSize(value, axis, isFirst ? half : size - half),
    );
  }
  if (random.chance(0.1) && isFixedAt(value, axis)) {
    const backwards = [net.integers([-1]), net.integers([-(2 ** 31)]), net.integers([axis]), net.integers([-1])];
    return net.node('Slice', [value, ...backwards], value);
  }
  const steps = step === 1 ? [] : [listOf([step])];
  if (random.chance(0.2) && axis !== 0 && isFixedAt(value, 0) && step === 1) {
    return net.node(
      'Slice',
      [value, net.integers([0, ...starts]), net.integers([2 ** 53, ...ends]), net.integers([0, axis])],
      withSize(value, axis, count),
    );
  }
  return net.node(
    'Slice',
    [value, listOf(starts), listOf(ends), listOf([random.chance(0.3) ? axis - value.shape.length : axis]), ...steps],
    withSize(value, axis, count),
  );
}

function transpose(net: Network, value: Value): Value {
  const rank = value.shape.length;
  const order = [...value.shape.keys()];
  for (let axis = rank - 1; axis > 0; axis--) {
    const other = net.random.between(0, axis);
    [order[axis], order[other]] = [order[other]!, order[axis]!];
  }
  const perm = rank === 4 && net.random.chance(0.5) ? [0, 2, 3, 1] : order;
  const output = { shape: perm.map((axis) => value.shape[axis]!), symbols: perm.map((axis) => value.symbols[axis]) };
  return net.node('Transpose', [value], output, [integersAttribute('perm', perm)]);
}

/** A size after a change of shape: that of an axis, or a number. */
type Target = { readonly axis: number } | number;

function reshaped(net: Network, value: Value, targets: readonly Target[]): Value {
  const { random } = net;
  const shape = targets.map((target) => (typeof target === 'number' ? target : value.shape[target.axis]!));
  const symbols = targets.map((target) => (typeof target === 'number' ? undefined : value.symbols[target.axis]));
  const unknown = targets.flatMap((target, place) =>
    typeof target === 'number' || target.axis === place ? [] : [place],
  );
  const rest =
    unknown.length === 1 && random.chance(0.7)
      ? unknown[0]
      : random.chance(0.4) && unknown.length === 0
        ? random.between(0, targets.length - 1)
        : undefined;
  const isComputed = random.chance(0.3) || unknown.some((place) => place !== rest);
  const plain = targets.map((target, place) =>
    place === rest
      ? -1
      : typeof target === 'number'
        ? target
        : isFixedAt(value, target.axis) && random.chance(0.5)
          ? shape[place]!
          : 0,
  );
  if (!isComputed) return net.node('Reshape', [value, net.integers(plain)], { shape, symbols });
  const parts = targets.map((target, place) =>
    place === rest || typeof target === 'number' ? net.integers([plain[place]!]) : sizeFrom(net, value, target.axis),
  );
  const list = net.hidden('Concat', parts, [integerAttribute('axis', 0)]);
  return net.node('Reshape', [value, list], { shape, symbols });
}

const targetsOf = ({ shape }: Value): Target[] => shape.map((_, axis) => ({ axis }));

function merge(net: Network, value: Value): Value | undefined {
  const { random } = net;
  const places = [...value.shape.keys()].slice(1).filter((axis) => isFixedAt(value, axis, axis - 1));
  if (places.length === 0) return undefined;
  const place = random.pick(places);
  const targets = targetsOf(value);
  return reshaped(net, value, [
    ...targets.slice(0, place - 1),
    value.shape[place - 1]! * value.shape[place]!,
    ...targets.slice(place + 1),
  ]);
}

function flatten(net: Network, value: Value): Value | undefined {
  const axis = value.shape.length > 1 && net.random.chance(0.8) ? 1 : net.random.between(0, value.shape.length);
  const parts = [value.shape.slice(0, axis), value.shape.slice(axis)];
  if (!isFixedAt(value, ...[...value.shape.keys()].slice(axis))) return undefined;
  const symbol = value.symbols.slice(0, axis).every((each) => each === undefined)
    ? undefined
    : axis === 1
      ? value.symbols[0]
      : net.name('d');
  return net.node('Flatten', [value], { shape: parts.map(productOf), symbols: [symbol, undefined] }, [
    integerAttribute(
      'axis',
      net.opset >= 11 && net.random.chance(0.3) && axis < value.shape.length ? axis - value.shape.length : axis,
    ),
  ]);
}

function divide(net: Network, value: Value): Value | undefined {
  const axes = value.shape.flatMap((size, axis) =>
    isFixedAt(value, axis) && [4, 6, 8, 9, 10, 12].includes(size) ? [axis] : [],
  );
  if (axes.length === 0 || value.shape.length > 4) return undefined;
  const axis = net.random.pick(axes);
  const size = value.shape[axis]!;
  const factor = size % 2 === 0 ? net.random.pick([2, size / 2]) : 3;
  const targets = targetsOf(value);
  const made = reshaped(net, value, [...targets.slice(0, axis), factor, size / factor, ...targets.slice(axis + 1)]);
  if (net.random.chance(0.4)) return made;
  // A shuffle of channels.
  const order = [...made.shape.keys()];
  [order[axis], order[axis + 1]] = [axis + 1, axis];
  const swapped = net.node(
    'Transpose',
    [made],
    { shape: order.map((each) => made.shape[each]!), symbols: order.map((each) => made.symbols[each]) },
    [integersAttribute('perm', order)],
  );
  const back = targetsOf(swapped);
  return reshaped(net, swapped, [...back.slice(0, axis), size, ...back.slice(axis + 2)]);
}

function unsqueeze(net: Network, value: Value): Value | undefined {
  const { shape, symbols } = value;
  if (shape.length > 4) return undefined;
  const place = net.random.between(0, shape.length);
  const isNegative = net.opset >= 11 && net.random.chance(0.3);
  const listed = net.listed('axes', [isNegative ? place - shape.length - 1 : place], 13);
  const output = {
    shape: [...shape.slice(0, place), 1, ...shape.slice(place)],
    symbols: [...symbols.slice(0, place), undefined, ...symbols.slice(place)],
  };
  return net.node('Unsqueeze', [value, ...listed.inputs], output, listed.attributes);
}

function squeeze(net: Network, value: Value): Value | undefined {
  const { shape, symbols } = value;
  const places = shape.flatMap((size, axis) => (size === 1 && symbols[axis] === undefined ? [axis] : []));
  if (places.length === 0 || shape.length < 2) return undefined;
  const isAll = net.random.chance(0.2) && isFixed(value);
  const gone = isAll ? places : [net.random.pick(places)];
  if (gone.length === shape.length) return undefined;
  const listed = isAll ? { inputs: [], attributes: [] } : net.listed('axes', gone, 13);
  const left = <Item>(items: readonly Item[]) => items.filter((_, axis) => !gone.includes(axis));
  return net.node(
    'Squeeze',
    [value, ...listed.inputs],
    { shape: left(shape), symbols: left(symbols) },
    listed.attributes,
  );
}

function expand(net: Network, value: Value): Value | undefined {
  const places = value.shape.flatMap((size, axis) => (size === 1 && value.symbols[axis] === undefined ? [axis] : []));
  if (places.length === 0 || !isFixed(value)) return undefined;
  const place = net.random.pick(places);
  const shape = value.shape.map((size, axis) => (axis === place ? net.random.between(2, 4) : size));
  const asked = shape.map((size, axis) => (axis !== place && net.random.chance(0.4) ? 1 : size));
  if (shape.length < 5 && net.random.chance(0.2)) {
    const larger = { shape: [2, ...shape], symbols: [undefined, ...value.symbols] };
    return net.node('Expand', [value, net.integers([2, ...asked])], larger);
  }
  return net.node('Expand', [value, net.integers(asked)], { shape, symbols: value.symbols });
}

function gather(net: Network, value: Value): Value | undefined {
  const axes = value.shape.flatMap((_, axis) => (isFixedAt(value, axis) ? [axis] : []));
  if (axes.length === 0) return undefined;
  const axis = net.random.pick(axes);
  const size = value.shape[axis]!;
  const list = Array.from({ length: net.random.between(1, 4) }, () => net.random.between(-size, size - 1));
  if (value.shape.length > 1 && net.random.chance(0.2)) {
    const one = net.hidden('Reshape', [net.integers(list.slice(0, 1)), net.integers([])]);
    const without = <Item>(items: readonly Item[]) => items.filter((_, place) => place !== axis);
    const part = { shape: without(value.shape), symbols: without(value.symbols) };
    return net.node('Gather', [value, one], part, [integerAttribute('axis', axis)]);
  }
  return net.node('Gather', [value, net.integers(list)], withSize(value, axis, list.length), [
    integerAttribute('axis', axis),
  ]);
}

export const arrangingOperators: readonly RandomOperator[] = [
  operator(5, anything, concat),
  operator(4, anything, split),
  operator(5, anything, slice),
  operator(3, anything, transpose),
  operator(3, anything, merge),
  operator(2, anything, flatten),
  operator(4, anything, divide),
  operator(2, ({ shape }) => shape.length < 5, unsqueeze),
  operator(2, anything, squeeze),
  operator(2, anything, expand),
  operator(1, anything, gather),
];
