import type { Value } from '../../../onnx/graph.js';
import type { NodeRule, NodeSite } from '../node.js';
import { Float, type Attributes } from '../making.js';
import { Untranslated } from '../translation.js';

/** Functions of each number: the operator of ONNX with its attributes. */
const functions: Readonly<Record<string, readonly [op: string, attributes?: Attributes]>> = {
  Relu: ['Relu'],
  Relu6: ['Clip', { min: new Float(0), max: new Float(6) }],
  Elu: ['Elu'],
  Selu: ['Selu'],
  Sigmoid: ['Sigmoid'],
  Tanh: ['Tanh'],
  Softplus: ['Softplus'],
  Softsign: ['Softsign'],
  Erf: ['Erf'],
  Exp: ['Exp'],
  Log: ['Log'],
  Sqrt: ['Sqrt'],
  Reciprocal: ['Reciprocal'],
  Inv: ['Reciprocal'],
  Neg: ['Neg'],
  Abs: ['Abs'],
  Floor: ['Floor'],
  Ceil: ['Ceil'],
  Round: ['Round'],
  Sign: ['Sign'],
  Sin: ['Sin'],
  Cos: ['Cos'],
  Atan: ['Atan'],
  Sinh: ['Sinh'],
  Cosh: ['Cosh'],
  Asinh: ['Asinh'],
  Acosh: ['Acosh'],
  Atanh: ['Atanh'],
  Tan: ['Tan'],
  Asin: ['Asin'],
  Acos: ['Acos'],
  Expm1: ['Expm1'],
  Log1p: ['Log1p'],
};

/** The slope of LeakyRelu where a node does not say it. */
const slope = 0.2;

/** What nodes have fused into them, after the bias. */
export function fused(site: NodeSite, value: Value, ops: readonly string[]): Value {
  return ops.reduce((input, op) => {
    const known = functions[op];
    if (known !== undefined) return site.node(known[0], [input], known[1]);
    if (op === 'LeakyRelu') return leaky(site, input, site.float('leakyrelu_alpha', slope));
    if (op === 'Prelu') return site.node('PRelu', [input, site.input(3)]);
    throw new Untranslated(`its ${op}`);
  }, value);
}

const leaky = (site: NodeSite, value: Value, alpha: number): Value =>
  site.node('LeakyRelu', [value], { alpha: new Float(alpha) });

const unary = (op: string, attributes?: Attributes): NodeRule => ({
  attributes: [],
  translate: (site) => site.node(op, [site.input(0)], attributes),
});

/** Numbers that are broadcast together. */
const broadcast = (op: string): NodeRule => ({
  attributes: [],
  translate: (site) => {
    const ranks = site.inputs.map((input) => site.translation.rankOf(input));
    const rank = ranks.includes(undefined) ? undefined : Math.max(...(ranks as number[]));
    return site.node(op, site.inputs, {}, rank);
  },
});

/** The product of a value with itself. */
const square = (site: NodeSite, value: Value): Value => site.node('Mul', [value, value]);

/** Of a NCHW value, the bias is along the second axis. */
const biasAdd: NodeRule = {
  attributes: ['data_format'],
  translate: (site) => {
    const [value, bias] = [site.input(0), site.input(1)];
    if (!site.isChannelsFirst || site.rank() === 2) return site.node('Add', [value, bias]);
    const last = site.rank() - 1;
    const order = [0, ...Array.from({ length: last - 1 }, (_, axis) => axis + 2), 1];
    const sum = site.node('Add', [site.node('Transpose', [value], { perm: order }), bias]);
    const back = order.map((_, axis) => order.indexOf(axis));
    return site.node('Transpose', [sum], { perm: back });
  },
};

/** Types of numbers, as ONNX numbers them. */
const types: Readonly<Record<string, number>> = { DT_FLOAT: 1, DT_INT32: 6, DT_INT64: 7, DT_BOOL: 9 };

const cast: NodeRule = {
  attributes: ['Truncate'],
  translate: (site) => {
    const to = types[site.type('DstT')];
    if (to === undefined) throw new Untranslated('its type');
    return site.node('Cast', [site.input(0)], { to });
  },
};

export const elementwiseNodes: Readonly<Record<string, NodeRule>> = {
  ...Object.fromEntries(Object.entries(functions).map(([op, [own, attributes]]) => [op, unary(own, attributes)])),
  ...Object.fromEntries(
    Object.entries({
      ...{
        Add: 'Add',
        AddV2: 'Add',
        AddN: 'Sum',
        Sub: 'Sub',
        Mul: 'Mul',
        RealDiv: 'Div',
        Div: 'Div',
        DivNoNan: 'Div',
        Pow: 'Pow',
      },
      ...{ Maximum: 'Max', Minimum: 'Min' },
    }).map(([op, own]) => [op, broadcast(own)]),
  ),
  ...Object.fromEntries(
    ['Identity', 'StopGradient', 'Snapshot', 'PreventGradient', 'CheckNumerics', 'EnsureShape'].map((op) => [
      op,
      {
        attributes: ['message', 'shape'],
        translate: (site) => site.node('Identity', [site.input(0)]),
      } satisfies NodeRule,
    ]),
  ),
  BiasAdd: biasAdd,
  Cast: cast,
  LeakyRelu: {
    attributes: ['alpha'],
    translate: (site) => leaky(site, site.input(0), site.float('alpha', slope)),
  },
  Prelu: { attributes: [], translate: (site) => site.node('PRelu', [site.input(0), site.input(1)]) },
  Square: { attributes: [], translate: (site) => square(site, site.input(0)) },
  SquaredDifference: {
    attributes: [],
    translate: (site) => square(site, site.node('Sub', [site.input(0), site.input(1)])),
  },
  Rsqrt: {
    attributes: [],
    translate: (site) => site.node('Reciprocal', [site.node('Sqrt', [site.input(0)])]),
  },
  ClipByValue: {
    attributes: [],
    translate: (site) => site.node('Clip', [site.input(0), site.input(1), site.input(2)]),
  },
  ...Object.fromEntries(
    ['Softmax', 'LogSoftmax'].map((op) => [
      op,
      { attributes: [], translate: (site) => site.node(op, [site.input(0)], { axis: -1 }) } satisfies NodeRule,
    ]),
  ),
};
