import { GraphNetwork, list, samples, text, texts, type GraphChoice, type Value } from './graph-network.js';
import { Random } from './random.js';

type Attributes = Record<string, object>;

interface Choice {
  readonly weight: number;
  readonly takes: (shape: readonly number[]) => boolean;
  readonly apply: (net: GraphNetwork, value: Value) => Value | undefined;
}

const ofSpace = (shape: readonly number[]) => shape.length === 4;
const ofRows = (shape: readonly number[]) => shape.length === 2;
const ofAny = () => true;
const channelsOf = ({ shape }: Value): number => shape.at(-1)!;
const size = ({ random }: GraphNetwork) => random.between(2, 7);

const activations = ['Relu', 'Relu6', 'Elu', 'Sigmoid', 'Tanh', 'Softplus'];

/** What is fused into a node: the operators, and the input for a bias. */
function fusion(net: GraphNetwork, channels: number): { readonly inputs: string[]; readonly attr: Attributes } {
  const activation = net.random.chance(0.5) ? [net.random.pick(['Relu', 'Relu6', 'Elu', 'Sigmoid'])] : [];
  return {
    inputs: [net.vector(channels)],
    attr: { fused_ops: texts(['BiasAdd', ...activation]), num_args: { i: '1' } },
  };
}

function windowOf(net: GraphNetwork, { shape }: Value) {
  const kernel = net.random.pick([1, 1, 2, 3, 3]);
  const stride = net.random.pick([1, 1, 1, 2]);
  const isSame = net.random.chance(0.6) || shape[1]! < kernel || shape[2]! < kernel;
  const after = [shape[1]!, shape[2]!].map((each) => Math.ceil((isSame ? each : each - kernel + 1) / stride));
  const attr: Attributes = {
    strides: list([1, stride, stride, 1]),
    dilations: list([1, 1, 1, 1]),
    padding: text(isSame ? 'SAME' : 'VALID'),
    data_format: text('NHWC'),
    explicit_paddings: { list: {} },
  };
  return { kernel, after, attr };
}

const unary = (weight: number, ops: readonly string[]): Choice => ({
  weight,
  takes: ofAny,
  apply: (net, value) => net.value(net.node(net.random.pick(ops), [value.name]), value.shape, value),
});

/** Another value of the same shape, or with one index in space. */
function partner(net: GraphNetwork, value: Value): Value | undefined {
  const found = net.values.filter(
    (other) =>
      other !== value &&
      other.shape.length === value.shape.length &&
      other.shape.every(
        (each, axis) => each === value.shape[axis] || (axis > 0 && axis < value.shape.length - 1 && each === 1),
      ),
  );
  return found.length === 0 ? undefined : net.random.pick(found);
}

const merging = (weight: number, ops: readonly string[]): Choice => ({
  weight,
  takes: ofAny,
  apply: (net, value) => {
    const other = partner(net, value);
    return other && net.value(net.node(net.random.pick(ops), [value.name, other.name]), value.shape, value, other);
  },
});

/** A shape that is computed while the model runs: that of the batch beside fixed sizes. */
function computedShape(net: GraphNetwork, value: Value, sizes: readonly number[]): string {
  const shape = net.node('Shape', [value.name], { out_type: { type: 'DT_INT32' } });
  const first = net.node('StridedSlice', [shape, net.integers([0]), net.integers([1]), net.integers([1])], {
    shrink_axis_mask: { i: '1' },
  });
  return net.node('Pack', [first, ...sizes.map((each) => net.integer(each))], { axis: { i: '0' } });
}

const choices: readonly Choice[] = [
  {
    weight: 5,
    takes: ofSpace,
    apply: (net, value) => {
      const { kernel, after, attr } = windowOf(net, value);
      const filters = size(net);
      const weight = net.weight([kernel, kernel, channelsOf(value), filters], (index) => index % filters);
      const isFused = net.random.chance(0.5);
      const { inputs, attr: own } = isFused ? fusion(net, filters) : { inputs: [], attr: {} };
      const name = net.node(isFused ? '_FusedConv2D' : 'Conv2D', [value.name, weight, ...inputs], { ...attr, ...own });
      return net.value(name, [samples, ...after, filters], value);
    },
  },
  {
    weight: 2,
    takes: ofSpace,
    apply: (net, value) => {
      const { kernel, after, attr } = windowOf(net, value);
      const multiplier = net.random.pick([1, 1, 2]);
      const channels = channelsOf(value) * multiplier;
      const weight = net.weight([kernel, kernel, channelsOf(value), multiplier], (index) => index % channels);
      const isFused = net.random.chance(0.5);
      const { inputs, attr: own } = isFused ? fusion(net, channels) : { inputs: [], attr: {} };
      const op = isFused ? 'FusedDepthwiseConv2dNative' : 'DepthwiseConv2dNative';
      const name = net.node(op, [value.name, weight, ...inputs], { ...attr, ...own });
      return net.value(name, [samples, ...after, channels], value);
    },
  },
  {
    weight: 1,
    takes: (shape) => ofSpace(shape) && shape[1]! < 7,
    apply: (net, value) => {
      const filters = size(net);
      const weight = net.weight(
        [3, 3, filters, channelsOf(value)],
        (index) => Math.floor(index / channelsOf(value)) % filters,
      );
      const after = [2 * value.shape[1]!, 2 * value.shape[2]!];
      const shape = net.random.chance(0.5)
        ? computedShape(net, value, [...after, filters])
        : net.fixedShape([...after, filters]);
      const attr = {
        strides: list([1, 2, 2, 1]),
        padding: text('SAME'),
        data_format: text('NHWC'),
        dilations: list([1, 1, 1, 1]),
      };
      return net.value(
        net.node('Conv2DBackpropInput', [shape, weight, value.name], attr),
        [samples, ...after, filters],
        value,
      );
    },
  },
  {
    weight: 4,
    takes: ofSpace,
    apply: (net, value) => {
      const [scale, offset, mean] = [0, 1, 2].map(() => net.vector(channelsOf(value)));
      const inputs = [value.name, scale!, offset!, mean!, net.vector(channelsOf(value), 'positive')];
      const attr = { epsilon: { f: 0.001 }, is_training: { b: false }, data_format: text('NHWC') };
      return net.value(net.node('FusedBatchNormV3', inputs, attr), value.shape, value);
    },
  },
  unary(4, activations),
  unary(0.5, ['Softmax']),
  {
    weight: 0.5,
    takes: ofSpace,
    apply: (net, value) =>
      net.value(
        net.node('LRN', [value.name], { depth_radius: { i: '1' }, bias: { f: 1 }, alpha: { f: 1 }, beta: { f: 0.5 } }),
        value.shape,
        value,
      ),
  },
  {
    weight: 2,
    takes: ofAny,
    apply: (net, value) =>
      net.value(
        net.node('BiasAdd', [value.name, net.vector(channelsOf(value))], { data_format: text('NHWC') }),
        value.shape,
        value,
      ),
  },
  {
    weight: 2,
    takes: ofAny,
    apply: (net, value) =>
      net.value(
        net.node(net.random.pick(['AddV2', 'Mul', 'Sub', 'Maximum']), [value.name, net.vector(channelsOf(value))]),
        value.shape,
        value,
      ),
  },
  {
    weight: 1,
    takes: ofSpace,
    apply: (net, value) => {
      const { kernel, after, attr } = windowOf(net, value);
      const op = net.random.pick(['MaxPool', 'AvgPool']);
      const name = net.node(op, [value.name], { ...attr, dilations: {}, ksize: list([1, kernel, kernel, 1]) });
      return net.value(name, [samples, ...after, channelsOf(value)], value);
    },
  },
  {
    weight: 1,
    takes: ofSpace,
    apply: (net, value) => {
      const keeps = net.random.chance(0.5);
      const name = net.node(net.random.pick(['Mean', 'Max']), [value.name, net.integers([1, 2])], {
        keep_dims: { b: keeps },
      });
      return net.value(name, keeps ? [samples, 1, 1, channelsOf(value)] : [samples, channelsOf(value)], value);
    },
  },
  {
    weight: 1,
    takes: ofSpace,
    apply: (net, value) => {
      const pads = net.integers([0, 0, 1, 0, 0, 2, 0, 0], [4, 2]);
      const after = [samples, value.shape[1]! + 1, value.shape[2]! + 2, channelsOf(value)];
      return net.value(net.node('Pad', [value.name, pads]), after, value);
    },
  },
  {
    weight: 0.7,
    takes: (shape) => ofSpace(shape) && shape[1]! > 1 && shape[2]! > 1,
    apply: (net, value) => {
      const pads = net.integers([0, 0, 1, 1, 1, 0, 0, 0], [4, 2]);
      const after = [samples, value.shape[1]! + 2, value.shape[2]! + 1, channelsOf(value)];
      return net.value(net.node('MirrorPad', [value.name, pads], { mode: text('REFLECT') }), after, value);
    },
  },
  {
    weight: 1,
    takes: (shape) => ofSpace(shape) && shape[1]! < 7,
    apply: (net, value) => {
      const after = [2 * value.shape[1]!, 2 * value.shape[2]!];
      const op = net.random.pick(['ResizeBilinear', 'ResizeNearestNeighbor']);
      const attr = { align_corners: { b: false }, half_pixel_centers: { b: net.random.chance(0.5) } };
      return net.value(
        net.node(op, [value.name, net.integers(after)], attr),
        [samples, ...after, channelsOf(value)],
        value,
      );
    },
  },
  {
    weight: 2,
    takes: ofSpace,
    apply: (net, value) => {
      const count = value.shape.slice(1).reduce((product, each) => product * each, 1);
      const shape = net.random.pick([
        () => net.integers([-1, count]),
        () => net.fixedShape([count]),
        () => computedShape(net, value, [count]),
        () => computedShape(net, value, [-1]),
      ])();
      return net.value(net.node('Reshape', [value.name, shape]), [samples, count], value);
    },
  },
  {
    weight: 1,
    takes: ofRows,
    apply: (net, value) => {
      const shape = net.random.chance(0.5)
        ? net.integers([-1, 1, 1, channelsOf(value)])
        : computedShape(net, value, [1, 1, channelsOf(value)]);
      return net.value(net.node('Reshape', [value.name, shape]), [samples, 1, 1, channelsOf(value)], value);
    },
  },
  {
    weight: 0.7,
    takes: ofSpace,
    apply: (net, value) => {
      const order = net.random.pick([
        [0, 2, 1, 3],
        [0, 3, 1, 2],
      ]);
      return net.value(
        net.node('Transpose', [value.name, net.integers(order)]),
        order.map((axis) => value.shape[axis]!),
        value,
      );
    },
  },
  {
    weight: 4,
    takes: ofRows,
    apply: (net, value) => {
      const units = size(net);
      const isSwapped = net.random.chance(0.3);
      const shape = isSwapped ? [units, channelsOf(value)] : [channelsOf(value), units];
      const weight = net.weight(shape, (index) => (isSwapped ? Math.floor(index / channelsOf(value)) : index % units));
      const attr = { transpose_a: { b: false }, transpose_b: { b: isSwapped } };
      const isFused = net.random.chance(0.4);
      const { inputs, attr: own } = isFused ? fusion(net, units) : { inputs: [], attr: {} };
      const name = net.node(isFused ? '_FusedMatMul' : 'MatMul', [value.name, weight, ...inputs], { ...attr, ...own });
      return net.value(name, [samples, units], value);
    },
  },
  merging(3, ['AddV2', 'Add']),
  merging(1, ['Mul', 'Maximum', 'Sub']),
  {
    weight: 2,
    takes: ofAny,
    apply: (net, value) => {
      const axis = value.shape.length - 1;
      const found = net.values.filter(
        ({ shape }) =>
          shape.length === value.shape.length &&
          shape.every((each, place) => place === axis || each === value.shape[place]),
      );
      const others = [net.random.pick(found), ...(net.random.chance(0.3) ? [net.random.pick(found)] : [])];
      const all = [value, ...others];
      const name = net.node('ConcatV2', [...all.map((each) => each.name), net.integer(net.random.pick([-1, axis]))], {
        N: { i: String(all.length) },
      });
      return net.value(
        name,
        [...value.shape.slice(0, -1), all.reduce((sum, each) => sum + channelsOf(each), 0)],
        ...all,
      );
    },
  },
  {
    weight: 1.5,
    takes: (shape) => shape.at(-1)! > 2,
    apply: (net, value) => {
      const rank = value.shape.length;
      const last = channelsOf(value);
      const start = net.random.between(0, last - 2);
      const end = net.random.between(start + 1, last);
      const zeros = Array<number>(rank - 1).fill(0);
      const whole = 2 ** (rank - 1) - 1;
      const isOpen = net.random.chance(0.3);
      const inputs = [
        net.integers([...zeros, net.random.chance(0.3) ? start - last : start]),
        net.integers([...zeros, isOpen ? 0 : end]),
        net.integers(Array<number>(rank).fill(1)),
      ];
      const attr = { begin_mask: { i: String(whole) }, end_mask: { i: String(isOpen ? 2 * whole + 1 : whole) } };
      const after = (isOpen ? last : end) - start;
      return net.value(
        net.node('StridedSlice', [value.name, ...inputs], attr),
        [...value.shape.slice(0, -1), after],
        value,
      );
    },
  },
  {
    weight: 1,
    takes: (shape) => shape.at(-1)! % 2 === 0,
    apply: (net, value) => {
      const half = channelsOf(value) / 2;
      const shape = [...value.shape.slice(0, -1), half];
      const isEqual = net.random.chance(0.5);
      const axis = net.integer(value.shape.length - 1);
      const name = isEqual
        ? net.node('Split', [axis, value.name], { num_split: { i: '2' } })
        : net.node('SplitV', [value.name, net.integers([half, half]), axis], { num_split: { i: '2' } });
      net.value(name, shape, value);
      return net.value(`${name}:1`, shape);
    },
  },
  {
    weight: 0.5,
    takes: (shape) => ofSpace(shape) && shape.at(-1)! % 4 === 0 && shape[1]! < 7,
    apply: (net, value) => {
      const [, h, w, c] = value.shape as [number, number, number, number];
      const attr = { block_size: { i: '2' }, data_format: text('NHWC') };
      return net.value(net.node('DepthToSpace', [value.name], attr), [samples, 2 * h, 2 * w, c / 4], value);
    },
  },
];

/** The network of a seed. Each operator has random numbers of its own. */
export function randomGraph({ seed, count, without, blur }: GraphChoice): GraphNetwork {
  const random = new Random(seed);
  const net = new GraphNetwork(random, blur ? new Random(seed, blur) : undefined);
  net.input(
    random.pick([
      [random.between(4, 8), random.between(4, 8), random.between(2, 4)],
      [random.between(4, 8), random.between(4, 8), random.between(2, 4)],
      [random.between(2, 8)],
    ]),
  );
  for (let place = 0; place < count; place++) {
    net.random = new Random(seed, place + 1);
    net.rename(1000 * (place + 1));
    if (!without?.has(place)) addNode(net);
  }
  net.random = new Random(seed, 1000);
  net.rename(1_000_000);
  for (const value of [...net.unread]) if (net.random.chance(0.9)) conclude(net, value);
  return net;
}

function addNode(net: GraphNetwork): void {
  const { random } = net;
  for (let attempt = 0; attempt < 10; attempt++) {
    const value = random.chance(0.65) ? net.values.at(-1)! : random.pick(net.values);
    if (value.shape.reduce((product, each) => product * each, 1) > 2000) continue;
    const fitting = choices.filter(({ takes }) => takes(value.shape));
    let rest = random.next() * fitting.reduce((sum, { weight }) => sum + weight, 0);
    const choice = fitting.find(({ weight }) => (rest -= weight) < 0) ?? fitting[0]!;
    if (choice.apply(net, value) !== undefined) return;
  }
}

/** Behind most values there is a layer with channels of its own. */
function conclude(net: GraphNetwork, value: Value): void {
  const channels = channelsOf(value);
  if (value.shape.length === 2) {
    const weight = net.weight([channels, 2], () => 63);
    const name = net.node('MatMul', [value.name, weight], { transpose_a: { b: false }, transpose_b: { b: false } });
    const last = net.random.chance(0.7) ? net.node('BiasAdd', [name, net.vector(2)]) : name;
    net.value(last, [samples, 2], value);
    return;
  }
  const attr = {
    strides: list([1, 1, 1, 1]),
    dilations: list([1, 1, 1, 1]),
    padding: text('SAME'),
    data_format: text('NHWC'),
  };
  const kernel = net.random.pick([1, 3]);
  const { inputs, attr: own } = net.random.chance(0.7) ? fusion(net, 2) : { inputs: [], attr: {} };
  const weight = net.weight([kernel, kernel, channels, 2], () => 63);
  const name = net.node(inputs.length > 0 ? '_FusedConv2D' : 'Conv2D', [value.name, weight, ...inputs], {
    ...attr,
    ...own,
  });
  net.value(name, [...value.shape.slice(0, -1), 2], value);
}
