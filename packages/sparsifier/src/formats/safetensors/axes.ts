import type { Kind, Role } from '../../model/model.js';

/** What is needed of a tensor here. */
export interface Named {
  readonly name: string;
  readonly shape: readonly number[];
}

/** All tensors by their full names. */
export type Tensors<Tensor extends Named = Named> = ReadonlyMap<string, Tensor>;

const outIn: readonly Role[] = ['out', 'in'];
const inOut: readonly Role[] = ['in', 'out'];

/**
 * The roles of the axes in the order in which PyTorch stores them. A dense weight of three axes has experts first: the
 * output channel is expert x outputs + output.
 */
export function rolesOf(kind: Kind, axes: number): readonly Role[] {
  if (kind === 'dense' && axes === 3) return ['out', 'multiplier', 'in'];
  const spatial = Number(/(\d)d$/.exec(kind)?.[1] ?? 0);
  const channels = kind.startsWith('convTranspose') ? inOut : outIn;
  return [...channels, ...(['depth', 'height', 'width'] as const).slice(3 - spatial)];
}

/** The name of the bias that belongs to a weight. */
export function biasOf(name: string): string {
  const [, recurrent] = /(?:^|\.)weight(_[ih]h(?:_l\d+(?:_reverse)?)?)$/.exec(name) ?? [];
  if (recurrent !== undefined) return `${name.slice(0, -recurrent.length - 'weight'.length)}bias${recurrent}`;
  return name.endsWith('weight') ? `${name.slice(0, -'weight'.length)}bias` : `${name}_bias`;
}

/** A name of a tensor in parts: `h.0.attn.` `c_attn` `.weight`. */
interface Parts {
  readonly parent: string;
  readonly module: string;
  readonly ending: string;
}

function partsOf(name: string): Parts {
  const [ending] = /[._]?weight$/.exec(name) ?? [''];
  const module = name.slice(0, name.length - ending.length);
  const at = module.lastIndexOf('.') + 1;
  return { parent: module.slice(0, at), module: module.slice(at), ending };
}

/** Which of its first two axes a weight has as outputs, as far as that is certain. */
type Order = typeof outIn | typeof inOut;

/** The order of a weight by its bias, which has one number per output; undefined where that does not tell. */
export function orderByBias({ name, shape: [first, second] }: Named, all: Tensors): Order | undefined {
  const bias = all.get(biasOf(name));
  if (bias === undefined || bias.shape.length !== 1 || first === second) return undefined;
  if (bias.shape[0] === first) return outIn;
  return bias.shape[0] === second ? inOut : undefined;
}

/**
 * The order of a matrix that must be certain by itself: by its bias, or because GPT-2's `c_attn` and `c_fc` have more
 * outputs than inputs, and its `c_proj` has more inputs. These modules are stored as (in, out) by transformers and as
 * (out, in) by others.
 */
function certainOrder(tensor: Named, all: Tensors): Order | undefined {
  const { name, shape } = tensor;
  if (all.has(biasOf(name))) return orderByBias(tensor, all);
  const [first = 0, second = 0] = shape;
  const { module } = partsOf(name);
  if (first === second) return undefined;
  if (module === 'c_attn' || module === 'c_fc') return first > second ? outIn : inOut;
  if (module === 'c_proj') return first > second ? inOut : outIn;
  return undefined;
}

/** The orders of matrices that are certain, by the module that they share with others, and by their own names. */
export class Orders {
  readonly #all: Tensors;
  readonly #byParent = new Map<string, Set<Order>>();
  readonly #byModule = new Map<string, Set<Order>>();

  constructor(all: Tensors) {
    this.#all = all;
    for (const tensor of all.values()) {
      const order = tensor.shape.length === 2 ? certainOrder(tensor, all) : undefined;
      if (order === undefined) continue;
      const { parent, module } = partsOf(tensor.name);
      add(this.#byParent, parent, order);
      add(this.#byModule, module, order);
    }
  }

  /**
   * The roles of a dense weight of two axes. A square one has those of its siblings: of the modules beside it, or else
   * of the modules of the same name. By default those of PyTorch.
   */
  rolesOf(tensor: Named): { readonly roles: readonly Role[]; readonly notes: readonly string[] } {
    const own = certainOrder(tensor, this.#all);
    if (own !== undefined || tensor.shape[0] !== tensor.shape[1]) return { roles: own ?? outIn, notes: [] };
    const { parent, module } = partsOf(tensor.name);
    const [order = outIn, other] = this.#byParent.get(parent) ?? this.#byModule.get(module) ?? [];
    if (other === undefined) return { roles: order, notes: [] };
    return {
      roles: outIn,
      notes: [
        'taken as (out, in), while the weights beside it are stored in both orders: --layer tells which is right',
      ],
    };
  }
}

function add(orders: Map<string, Set<Order>>, key: string, order: Order): void {
  const known = orders.get(key);
  if (known) known.add(order);
  else orders.set(key, new Set([order]));
}

/** The two matrices of an expert: names of those that read the hidden state, and of the one that makes it. */
const expertModules: readonly (readonly [first: readonly string[], second: string])[] = [
  [['gate_up_proj', 'gate_proj', 'up_proj'], 'down_proj'],
  [['input_linear'], 'output_linear'],
  [['w1', 'w3', 'w13'], 'w2'],
  [['fc1'], 'fc2'],
  [['wi', 'wi_0', 'wi_1'], 'wo'],
];

const routers = ['router', 'router.layer', 'router.classifier', 'gate', 'gate.wg'];

const unknownExperts =
  'its name is that of experts, and nothing tells their inputs from their outputs; describe it with the layers option ' +
  '(--layer): as dense, if it is stored as (experts, out, in), or as dense:out,in,multiplier for (experts, in, out)';

/**
 * The roles of a weight of three axes that contains one matrix per expert; why they are not certain; or undefined for
 * any other weight. What is certain follows from shapes alone: the bias has one number per output, the second matrix
 * of an expert reads what the first one makes (or half of it, after a gate), and the router reads what the first does.
 */
export function expertRoles({ name, shape }: Named, all: Tensors): readonly Role[] | string | undefined {
  const { parent, module, ending } = partsOf(name);
  const pair = expertModules.find(([first, second]) => first.includes(module) || second === module);
  const isNamed = /(^|[._])(experts?|moe)[._]/.test(parent);
  if (shape.length !== 3 || (pair === undefined && (!isNamed || ending === ''))) return undefined;
  const [experts, ...matrix] = shape as [number, number, number];
  const isFirst = pair?.[0].includes(module);
  const others = (isFirst ? [pair![1]] : (pair?.[0] ?? []))
    .flatMap((other) => all.get(`${parent}${other}${ending}`) ?? [])
    .filter((other) => other.shape.length === 3 && other.shape[0] === experts)
    .map((other) => other.shape.slice(1) as [number, number]);
  if (!isNamed && others.length === 0) return undefined;

  const bias = all.get(biasOf(name));
  const outputs = bias?.shape.length === 2 && bias.shape[0] === experts ? bias.shape[1] : undefined;
  const block = parent.slice(0, parent.lastIndexOf('.', parent.length - 2) + 1);
  const hidden = [parent, block]
    .flatMap((prefix) => routers.map((router) => all.get(`${prefix}${router}.weight`)?.shape))
    .find((router) => router?.length === 2 && router[0] === experts)?.[1];

  const fits = (order: Order) => {
    const sizes = ([first, second]: readonly [number, number]) =>
      order === outIn ? { out: first, in: second } : { out: second, in: first };
    const own = sizes(matrix);
    const fitsPair = others.map(sizes).every((other) => {
      const [first, second] = isFirst ? [own, other] : [other, own];
      return first.in === second.out && (first.out === second.in || first.out === 2 * second.in);
    });
    const fitsRouter = pair === undefined || hidden === undefined || (isFirst ? own.in : own.out) === hidden;
    return fitsPair && fitsRouter && (outputs === undefined || own.out === outputs);
  };
  const [order, other] = [outIn, inOut].filter(fits);
  if (order === undefined && !isNamed) return undefined;
  if (order === undefined || other !== undefined) return unknownExperts;
  return order === outIn ? ['out', 'multiplier', 'in'] : ['out', 'in', 'multiplier'];
}
