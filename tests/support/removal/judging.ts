// Is a model without its dead channels the same function as the masked one, with the same signature and operators?
import { fieldsOf, type Field } from '../onnx-reader.js';
import { differenceOf, isFinite, largestOf, run, withOutputs, type Feeds, type Outputs } from './running.js';

/** The attributes that follow from numbers of channels, by operator. All others stay what they are. */
const mayChange: Readonly<Record<string, readonly string[]>> = {
  Conv: ['group'],
  ConvTranspose: ['group'],
  LSTM: ['hidden_size'],
  GRU: ['hidden_size'],
  RNN: ['hidden_size'],
  Split: ['split', 'num_outputs'],
  Reshape: ['shape'],
  Slice: ['starts', 'ends'],
};

interface StoredNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, string>;
}

interface Stored {
  /** IR version and operator sets, inputs and outputs: what has to be the same, byte by byte. */
  readonly versions: string;
  readonly signature: string;
  readonly nodes: readonly StoredNode[];
  readonly initializers: ReadonlySet<string>;
  readonly outputs: readonly string[];
  /** Sizes in `value_info`; undefined for those that are not fixed. */
  readonly infos: ReadonlyMap<string, readonly (number | undefined)[]>;
  /** How many floats are stored. */
  readonly parameters: number;
}

/** Types of float tensors in onnx.proto. */
const floats = [1, 10, 11, 16];

function stored(bytes: Uint8Array): Stored {
  const inside = ({ start, end }: Field) => fieldsOf(bytes, start, end);
  const text = ({ start, end }: Field) => new TextDecoder().decode(bytes.slice(start, end));
  const raw = ({ start, end, value }: Field) =>
    Number.isNaN(value) ? Buffer.from(bytes.slice(start, end)).toString('hex') : String(value);
  const all = (fields: readonly Field[], number: number) => fields.filter((field) => field.number === number);
  const whole = fieldsOf(bytes, 0, bytes.length);
  const graph = inside(all(whole, 7)[0]!);

  const countOf = (tensor: readonly Field[]): number => {
    if (!floats.includes(all(tensor, 2)[0]?.value ?? 0)) return 0;
    return all(tensor, 1)
      .flatMap((field) => (Number.isNaN(field.value) ? varints(bytes, field) : [field.value]))
      .reduce((product, size) => product * size, 1);
  };
  let parameters = 0;
  const initializers = new Set<string>();
  for (const field of all(graph, 5)) {
    const tensor = inside(field);
    parameters += countOf(tensor);
    initializers.add(text(all(tensor, 8)[0]!));
  }
  const nodes = all(graph, 1).map((field): StoredNode => {
    const parts = inside(field);
    const op = text(all(parts, 4)[0]!);
    const attributes = new Map(all(parts, 5).map((attribute) => [text(all(inside(attribute), 1)[0]!), raw(attribute)]));
    for (const attribute of all(parts, 5)) {
      const [tensor] = all(inside(attribute), 5);
      if (tensor !== undefined && op === 'Constant') parameters += countOf(inside(tensor));
    }
    return { op, inputs: all(parts, 1).map(text), outputs: all(parts, 2).map(text), attributes };
  });
  const infos = new Map(
    all(graph, 13).flatMap((field) => {
      const info = inside(field);
      const shape = all(info, 2).flatMap((type) => all(inside(type), 1).flatMap((tensor) => all(inside(tensor), 2)))[0];
      const sizes = shape && all(inside(shape), 1).map((size) => all(inside(size), 1)[0]?.value);
      return sizes ? [[text(all(info, 1)[0]!), sizes] as const] : [];
    }),
  );
  return {
    versions: [...all(whole, 1), ...all(whole, 8)].map(raw).join(),
    signature: [...all(graph, 11), ...all(graph, 12)].map(raw).join(),
    outputs: all(graph, 12).map((field) => text(all(inside(field), 1)[0]!)),
    nodes,
    initializers,
    infos,
    parameters,
  };
}

/** What `value_info` says of the sizes of values; undefined for those that are not fixed. */
export const statedSizes = (bytes: Uint8Array): Stored['infos'] => stored(bytes).infos;

function varints(bytes: Uint8Array, { start, end }: Field): number[] {
  const numbers: number[] = [];
  for (let at = start, number = 0, place = 1; at < end; at++) {
    number += (bytes[at]! & 127) * place;
    place *= 128;
    if (bytes[at]! >= 128) continue;
    numbers.push(number);
    [number, place] = [0, 1];
  }
  return numbers;
}

/** What changed in nodes and should not have. */
function nodeProblems(dense: Stored, removed: Stored): string[] {
  const problems: string[] = [];
  const fixed = new Set([...dense.initializers, '']);
  for (const { op, inputs, outputs } of dense.nodes) {
    if (op === 'Shape' || inputs.every((name) => fixed.has(name))) for (const name of outputs) fixed.add(name);
  }
  const byOutput = ({ nodes }: Stored) => new Map(nodes.map((node) => [node.outputs[0]!, node]));
  const [before, after] = [byOutput(dense), byOutput(removed)];
  // A constant that is added behind a node gets the name of its output.
  const renamed = new Map<string, string>();
  for (const [name, { op, inputs }] of after) {
    const old = before.get(name);
    if (op !== 'Add' || old === undefined || old.op === op) continue;
    const source = inputs.find((input) => !before.has(input) && after.get(input)?.op === old.op);
    if (source !== undefined) renamed.set(name, source);
  }
  for (const [name, node] of before) {
    const now = after.get(renamed.get(name) ?? name);
    if (now === undefined) {
      if (!['Constant', 'Identity'].includes(node.op) && !node.outputs.every((output) => fixed.has(output)))
        problems.push(`${node.op} ${name} is gone`);
      continue;
    }
    if (now.op !== node.op) problems.push(`${node.op} ${name} became ${now.op}`);
    if (now.op !== node.op || node.op === 'Constant') continue;
    for (const attribute of new Set([...node.attributes.keys(), ...now.attributes.keys()])) {
      if (node.attributes.get(attribute) === now.attributes.get(attribute) || mayChange[node.op]?.includes(attribute))
        continue;
      problems.push(`the attribute ${attribute} of ${node.op} ${name} changed`);
    }
  }
  const isNew = (name: string) => !before.has(name) && ![...renamed.values()].includes(name);
  for (const [name, { op }] of after)
    if (isNew(name) && !['Add', 'Constant'].includes(op)) problems.push(`${op} ${name} is new`);
  return problems;
}

async function outputProblems(
  masked: Uint8Array,
  removed: Uint8Array,
  names: readonly string[],
  feeds: readonly Feeds[],
): Promise<string[]> {
  const runs = await Promise.all(
    [masked, removed].flatMap((bytes) => [run(bytes, feeds, false), run(bytes, feeds, true)]),
  );
  const [base, baseOn, small, smallOn] = runs as [Outputs[], Outputs[], Outputs[], Outputs[]];
  const problems = names.flatMap((name) => {
    const noise = differenceOf(name, base, baseOn);
    const limit = Math.max(2 * noise, 1e-6 * largestOf(name, base));
    const [off, on] = [differenceOf(name, base, small), differenceOf(name, base, smallOn)];
    // Optimised runs have the noise of both models.
    return off <= limit && on <= limit + 2 * noise ? [] : [`${name} differs by ${off} and ${on}, allowed ${limit}`];
  });
  if (isFinite(base) && !isFinite(small)) problems.push('an output is not finite');
  return problems;
}

export interface Judgement {
  readonly problems: readonly string[];
  readonly parameters: number;
}

/**
 * Compares a model without dead channels with the masked one.
 * @param feeds inputs of one size, and of others where the inputs have axes without a fixed size
 */
export async function judge(
  masked: Uint8Array,
  removed: Uint8Array,
  feeds: readonly (readonly Feeds[])[],
): Promise<Judgement> {
  const [before, after] = [stored(masked), stored(removed)];
  const problems = nodeProblems(before, after);
  if (before.versions !== after.versions) problems.push('the versions changed');
  if (before.signature !== after.signature) problems.push('the inputs or outputs changed');
  for (const each of feeds) problems.push(...(await outputProblems(masked, removed, before.outputs, each)));
  const inner = after.nodes
    .flatMap(({ outputs }) => outputs)
    .filter((name) => name !== '' && !after.outputs.includes(name));
  const [traced] = await run(withOutputs(removed, inner), [feeds[0]![0]!], false);
  for (const [name, sizes] of after.infos) {
    const dims = traced!.get(name)?.dims;
    if (dims === undefined) continue;
    const isRight =
      dims.length === sizes.length && sizes.every((size, axis) => size === undefined || size === dims[axis]);
    if (!isRight) problems.push(`${name} is said to be ${sizes.join()}, and is ${dims.join()}`);
  }
  return { problems, parameters: after.parameters };
}
