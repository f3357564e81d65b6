import type { DataType } from '../../../model/model.js';
import { productOf, sumOf } from '../../../model/numbers.js';
import type { Axis } from '../../../structure/coupling.js';
import type { List, Tensor } from '../../../structure/network.js';
import type { Weights } from '../../../structure/weights.js';
import { eachPlace, type View } from '../../../structure/numbers.js';
import { Stored } from '../../../structure/stored.js';
import type { ModelOutput } from '../../format.js';
import type { KeptIndices } from '../../removal.js';
import { edited, Edits, integerField, lengthDelimited, textField } from '../edits.js';
import type { Constant, Graph, Node } from '../graph.js';
import { ExternalData } from '../storing-data.js';
import { removed } from '../storing-chains.js';
import { fields, text, valueName, WireType, type Field, type ModelFile } from '../wire.js';
import { ModelWriter, type NewTensor } from '../writing.js';
import {
  type Cutting,
  cuttingsOf,
  gathered,
  indicesIn,
  isParameter,
  narrowedTo,
  storedOf,
  Version,
  type StoredVersions,
} from './cutting.js';
import { knownAlong } from './operators/known.js';
import { typeOf } from './follow.js';
import { recurrents } from './operators/recurrent.js';
import type { OnnxRemoval } from './remove.js';
import { sizesAfter } from './lists.js';
import type { Site } from './site.js';

/** Numbers that are added to the outputs of a node that has no bias for them. */
interface Left {
  readonly node: Node;
  /** The input for a bias, of operators that have one. */
  readonly input: number;
  /** The channels along each axis of the bias, or the size of one that stays. */
  readonly axes: readonly (Axis | number)[];
  readonly sums: Float64Array;
  readonly type: string;
}

/** Writes a model without the channels that go. */
export class Rewriting {
  readonly #edits: Edits;
  readonly #writer: ModelWriter;
  readonly #external: ExternalData;
  readonly #graph: Graph;
  readonly #plan: OnnxRemoval;
  /** The constants whose numbers are known. */
  readonly #stored: readonly StoredVersions[];
  readonly #left: readonly Left[];
  /** The new names of inputs. */
  readonly #inputs = new Map<Node, Map<number, string>>();
  /** The names of copies. */
  readonly #names = new Map<Version, string>();

  /** @param isFlushed whether subnormal numbers become 0 */
  constructor(file: ModelFile, graph: Graph, plan: OnnxRemoval, isFlushed = false) {
    this.#edits = new Edits(file);
    this.#writer = new ModelWriter(this.#edits);
    this.#external = new ExternalData(this.#edits);
    this.#graph = graph;
    this.#plan = plan;
    const cuttings = cuttingsOf(plan);
    this.#left = this.#fold(cuttings);
    this.#stored = storedOf(
      [...cuttings.values()].map((cutting) => new Version(cutting, plan.cut, isFlushed && canChange(cutting))),
    );
  }

  /** How many floats the constants of the file have. */
  get parameters(): number {
    const known = new Set(this.#stored.map(({ constant }) => constant));
    const others = this.#graph.constants.filter((constant) => isParameter(constant) && !known.has(constant));
    return (
      sumOf(this.#stored.flatMap(({ sets }) => sets.map(([{ shape }]) => productOf(shape)))) +
      sumOf(others.map(({ tensor }) => tensor.length)) +
      sumOf(this.#left.map(({ axes }) => productOf(axes.map((axis) => this.#sizeOf(axis)))))
    );
  }

  /** How many of them are subnormal. */
  get subnormals(): number {
    return sumOf(this.#stored.flatMap(({ sets }) => sets.map(([version]) => version.subnormals)));
  }

  /** How many copies of constants there are for nodes of which other channels go. */
  get copies(): number {
    return sumOf(this.#stored.map(({ sets }) => sets.length - 1));
  }

  /** The edits of the model file. Its external data are those of {@link data}. */
  write(): Edits {
    const { changes } = this.#plan;
    this.#store();
    for (const each of this.#left) this.#addSums(each);
    for (const { node, input, list } of changes.patches) this.#patch(node, input, list);
    for (const [node, attributes] of changes.attributes) this.#setAttributes(node, attributes);
    for (const [node, names] of this.#inputs) this.#rename(node, names);
    this.#describe();
    return this.#edits;
  }

  /** The bytes of a file with external data, once the model file is written. */
  data(output: ModelOutput): Promise<Uint8Array<ArrayBuffer>> {
    return this.#external.file(output);
  }

  /** The tensors that lost indices, once they are written. */
  get indexMap(): KeptIndices[] {
    return this.#stored.flatMap(({ constant, sets }) =>
      sets
        .filter(([{ kept }]) => kept.some((each) => each !== undefined))
        .map(([version]) => ({
          tensor: this.#names.get(version) ?? constant.name,
          from: constant.name,
          before: constant.tensor.shape,
          after: version.shape,
          kept: version.kept,
        })),
    );
  }

  #sizeOf(axis: Axis | number): number {
    return typeof axis === 'number' ? axis : this.#plan.cut.sizeOf(axis);
  }

  /** Adds sums to biases. Returns those of nodes without one. */
  #fold(cuttings: ReadonlyMap<Tensor, Cutting>): Left[] {
    const left: Left[] = [];
    for (const { reader, sums } of this.#plan.removal.folds) {
      const { node, inputs } = reader.operator as Site;
      if (recurrents.has(node.op)) {
        this.#foldRecurrent(node, inputs, cuttings, sums, reader.weights!, left);
        continue;
      }
      const bias = node.op === 'MatMul' ? undefined : inputs[2];
      const cutting = bias && cuttings.get(bias);
      if (cutting !== undefined && bias!.shape.at(-1) === sums.length) {
        cutting.change((numbers) => {
          for (const index of numbers.keys()) numbers[index]! += sums[index % sums.length]!;
        });
        continue;
      }
      const own = bias && knownAlong(bias, 1, [1, sums.length])!;
      const all = own === undefined ? sums : sums.map((sum, index) => sum + own[index]!);
      left.push({
        node,
        input: 2,
        axes: [reader.weights!.outputs],
        sums: all,
        type: typeOf(node.inputs[1]!, this.#plan.followed),
      });
    }
    return left;
  }

  /** The bias of a recurrent layer has a half for what it reads, and one for its own state. */
  #foldRecurrent(
    node: Node,
    inputs: readonly (Tensor | undefined)[],
    cuttings: ReadonlyMap<Tensor, Cutting>,
    sums: Float64Array,
    { outputs }: Weights,
    left: Left[],
  ): void {
    const weight = inputs[1]!;
    const [directions, rows] = weight.shape as [number, number, number];
    const bias = inputs[3];
    const cutting = bias && cuttings.get(bias);
    if (cutting === undefined) {
      const all = bias === undefined ? new Float64Array(2 * sums.length) : inOrder(bias.view!);
      const axis = new Int32Array(2 * rows);
      for (let row = 0; row < rows; row++) axis[row] = axis[rows + row] = outputs[row]!;
      for (const [index, sum] of sums.entries()) all[Math.floor(index / rows) * 2 * rows + (index % rows)]! += sum;
      left.push({
        node,
        input: 3,
        axes: [directions, axis],
        sums: all,
        type: typeOf(node.inputs[1]!, this.#plan.followed),
      });
      return;
    }
    cutting.change((numbers) => {
      for (const [index, sum] of sums.entries()) numbers[Math.floor(index / rows) * 2 * rows + (index % rows)]! += sum;
    });
  }

  #store(): void {
    const changed = this.#stored.filter(({ sets }) => sets.some(([{ isChanged }]) => isChanged));
    for (const {
      constant,
      sets: [[first]],
    } of changed as { constant: Constant; sets: [[Version]] }[]) {
      if (first.isChanged) this.#external.replace(constant, first);
    }
    this.#external.place();
    for (const { constant, sets } of changed) {
      const [[first], ...rest] = sets as [[Version], ...[Version, ...Version[]][]];
      for (const same of rest) {
        const { shape, type } = same[0];
        const name = this.#add(constant, { type, shape, numbers: same[0] });
        this.#names.set(same[0], name);
        for (const { node, input } of same.flatMap(({ cutting }) => cutting.readers)) this.#setInput(node, input, name);
      }
      if (!first.isChanged) continue;
      const { name, tensor } = constant;
      const place = removed(this.#writer, constant);
      place.store(name, { type: tensor.type, shape: first.shape, numbers: this.#external.numbersOf(constant) });
    }
  }

  /** Adds a constant beside another. Returns its name. */
  #add({ holder, name }: Constant, tensor: NewTensor): string {
    const graph = holder!.within!;
    const free = this.#writer.names.take(name);
    this.#writer.store(graph, this.#writer.entriesOf(graph).firstNode!.tagStart, free, tensor);
    return free;
  }

  #setInput(node: Node, input: number, name: string): void {
    const known = this.#inputs.get(node);
    if (known === undefined) this.#inputs.set(node, new Map([[input, name]]));
    else known.set(input, name);
  }

  /** Gives a node a bias, or adds it behind. */
  #addSums({ node, input, axes, sums, type }: Left): void {
    const kept = axes.map((axis) => (typeof axis === 'number' ? undefined : indicesIn(axis, this.#plan.cut)));
    const sizes = axes.map((axis) => (typeof axis === 'number' ? axis : axis.length));
    const numbers = gathered(Stored.of(new Float32Array(sums)), sizes, kept);
    const shape = axes.map((axis) => this.#sizeOf(axis));
    const graph = node.field!.within!;
    const [output] = node.outputs;
    const name = this.#writer.names.take(`${node.name || output!.name}.bias`);
    const first = this.#writer.entriesOf(graph).firstNode!.tagStart;
    this.#writer.store(graph, first, name, { type, shape, numbers: narrowedTo(numbers, type as DataType) });
    if (node.op !== 'MatMul') return this.#setInput(node, input, name);
    const before = this.#writer.names.take(`${output!.name}.withoutBias`);
    const [field] = [...fields(this.#edits.file, node.field!, 'node')].filter(({ number }) => number === 2);
    this.#edits.replace(field!, field!, new TextEncoder().encode(before));
    this.#writer.add(graph, node.field!.end, { op: 'Add', inputs: [before, name], outputs: [output!.name] });
  }

  #patch(node: Node, input: number, { numbers, isInteger }: List): void {
    const graph = node.field!.within!;
    const value = node.inputs[input];
    const name = this.#writer.names.take(value?.name || `${node.name || node.op}.list`);
    const { followed } = this.#plan;
    const given = followed.steps.find((step) => step.node === node)?.site.inputs[input]?.shape;
    // Lists of sizes get longer or shorter, numbers for other nodes do not.
    const shape = given !== undefined && productOf(given) === numbers.length ? given : [numbers.length];
    const integers = value !== undefined && typeOf(value, followed) === 'int32' ? 'int32' : 'int64';
    const type = isInteger ? integers : 'float32';
    const tensor = { type, shape, numbers: listBytes(numbers, type) };
    this.#writer.store(graph, this.#writer.entriesOf(graph).firstNode!.tagStart, name, tensor);
    this.#setInput(node, input, name);
  }

  #setAttributes(node: Node, wanted: Readonly<Record<string, number | readonly number[] | undefined>>): void {
    const { file } = this.#edits;
    const fieldsOf = new Map<string, Field>();
    for (const field of fields(file, node.field!, 'node')) {
      if (field.number !== 5 || field.type !== WireType.LengthDelimited) continue;
      const [name] = [...fields(file, field, 'attribute')].filter(({ number }) => number === 1);
      if (name !== undefined) fieldsOf.set(text(file, name), field);
    }
    for (const [name, value] of Object.entries(wanted)) {
      const field = fieldsOf.get(name);
      if (value === undefined) {
        if (field !== undefined) this.#edits.drop(field);
        continue;
      }
      const content =
        typeof value === 'number'
          ? [textField(1, name), integerField(3, value), integerField(20, 2)]
          : [textField(1, name), ...value.map((each) => integerField(8, exact(each))), integerField(20, 7)];
      if (field !== undefined) this.#edits.replace(field, field, ...content);
      else this.#edits.insert(node.field!, node.field!.end, ...lengthDelimited(5, ...content));
    }
  }

  #rename(node: Node, names: ReadonlyMap<number, string>): void {
    const inputs = [...fields(this.#edits.file, node.field!, 'node')].filter(({ number }) => number === 1);
    const last = Math.max(inputs.length - 1, ...names.keys());
    for (let place = 0; place <= last; place++) {
      const name = names.get(place);
      const field = inputs[place];
      if (field === undefined) this.#edits.insert(node.field!, node.field!.end, textField(1, name ?? ''));
      else if (name !== undefined) this.#edits.replace(field, field, new TextEncoder().encode(name));
    }
  }

  /** Makes right what the file says about the shapes of values. */
  #describe(): void {
    const { followed, cut } = this.#plan;
    /** By value, the new size of each axis that has another one. */
    const changed = new Map<string, (number | undefined)[]>();
    for (const [value, { shape, axes }] of followed.tensors) {
      const after = sizesAfter(shape, axes, cut).map((size, axis) => (size === shape[axis] ? undefined : size));
      if (!value.isInner && after.some((size) => size !== undefined)) changed.set(value.name, after);
    }
    const graphs = new Set(
      this.#graph.nodes.map(({ field }) => field?.within).filter((each) => each?.within === undefined),
    );
    const [main] = [...graphs].filter((each) => each !== undefined);
    if (main === undefined) return;
    const { file } = this.#edits;
    for (const entry of fields(file, main, 'graph')) {
      if (entry.number !== 13 || entry.type !== WireType.LengthDelimited) continue;
      const after = changed.get(valueName(file, entry));
      if (after === undefined) continue;
      const type = only(file, entry, 'valueInfo', 2);
      const tensor = type && only(file, type, 'type', 1);
      const shape = tensor && only(file, tensor, 'tensorType', 2);
      if (shape === undefined) continue;
      for (const [axis, field] of [...fields(file, shape, 'shape')].filter(({ number }) => number === 1).entries()) {
        const size = after[axis];
        if (size === undefined) continue;
        // A name such as `4*batch` would not be right any more.
        const isNumber = [...fields(file, field, 'axis')].some(({ number }) => number === 1);
        this.#edits.replace(field, field, ...(isNumber ? [integerField(1, size)] : []));
      }
    }
  }
}

function only(
  file: ModelFile,
  range: Field,
  message: 'valueInfo' | 'type' | 'tensorType',
  number: number,
): Field | undefined {
  return [...fields(file, range, message)].find(
    (field) => field.number === number && field.type === WireType.LengthDelimited,
  );
}

/** The numbers of a view in the order of its axes. */
function inOrder(view: View): Float64Array {
  const numbers: number[] = [];
  eachPlace(view, new Map(), (place) => void numbers.push(view.stored.at(place)));
  return Float64Array.from(numbers);
}

/** Whether a constant can be stored anew. */
const canChange = ({ constant: { holder, isOutput, overlaps } }: Cutting): boolean =>
  holder !== undefined && !isOutput && overlaps === undefined;

function listBytes(numbers: readonly number[], type: string): Uint8Array {
  if (type === 'float32') return new Uint8Array(Float32Array.from(numbers).buffer);
  if (type === 'int32') return new Uint8Array(Int32Array.from(numbers).buffer);
  return new Uint8Array(BigInt64Array.from(numbers.map(exact), BigInt).buffer);
}

/** The largest integers of 64 bits are the limits of many slices. As float64 they are one too large, and any will do. */
const exact = (number: number): number => Math.min(number, Number.MAX_SAFE_INTEGER);

/** The bytes of a model file without the channels that go. */
export const rewritten = (file: ModelFile, graph: Graph, plan: OnnxRemoval): Uint8Array<ArrayBuffer> =>
  edited(new Rewriting(file, graph, plan).write());
