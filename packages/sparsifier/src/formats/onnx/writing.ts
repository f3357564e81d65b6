import { integerField, integerFields, lengthDelimited, textField, type Edits, type Piece } from './edits.js';
import { Names, namesIn } from './names.js';
import { typeNumber } from './types.js';
import { versionsIn, type Versions } from './versions.js';
import { fields, valueName, type Field } from './wire.js';

/** The IR version from which on an initializer need not be an input of its graph. */
const firstWithInitializers = 4;

/** The nodes, the inputs and the `value_info` of a `GraphProto`. */
export const nodeField = 1;
const inputField = 11;
const valueField = 13;

/** The entries of a graph that matter where constants are replaced. */
interface Entries {
  readonly firstNode: Field | undefined;
  /** By name: an initializer may also be listed as an input, whose default it is then, and among the values. */
  readonly described: ReadonlyMap<string, readonly Field[]>;
}

export interface NewTensor {
  /** The name of its type, as in {@link Tensor}. */
  readonly type: string;
  readonly shape: readonly number[];
  readonly numbers: Piece | ExternalPlace;
}

/** Where numbers are in a file of external data. */
interface ExternalPlace {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

export interface NewNode {
  readonly op: string;
  /** ONNX's own if omitted. */
  readonly domain?: string;
  /** Empty for none. */
  readonly name?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly integers?: Readonly<Record<string, number>>;
}

/** Adds constants and nodes to the graphs of a model. */
export class ModelWriter {
  readonly names: Names;
  readonly versions: Versions;
  /** Those that were read, by where their graphs begin. */
  readonly #entries = new Map<number, Entries>();

  constructor(readonly edits: Edits) {
    this.names = new Names(namesIn(edits.file));
    this.versions = versionsIn(edits.file);
  }

  /** The entries of a graph of the file as it was. */
  entriesOf(graph: Field): Entries {
    const known = this.#entries.get(graph.start);
    if (known !== undefined) return known;
    const { file } = this.edits;
    let firstNode: Field | undefined;
    const described = new Map<string, Field[]>();
    for (const entry of fields(file, graph, 'graph')) {
      if (entry.number === nodeField) firstNode ??= entry;
      if (entry.number !== inputField && entry.number !== valueField) continue;
      const name = valueName(file, entry);
      const known = described.get(name);
      if (known === undefined) described.set(name, [entry]);
      else known.push(entry);
    }
    const entries = { firstNode, described };
    this.#entries.set(graph.start, entries);
    return entries;
  }

  /**
   * Adds a constant to a graph.
   * @param at the place between the nodes from which on it is needed. What is added at one place keeps its order
   */
  store(graph: Field, at: number, name: string, tensor: NewTensor): void {
    if (this.versions.ir >= firstWithInitializers) {
      this.edits.insert(graph, graph.end, ...lengthDelimited(5, ...tensorMessage(name, tensor)));
      return;
    }
    const value = [textField(1, 'value'), ...lengthDelimited(5, ...tensorMessage('', tensor)), integerField(20, 4)];
    const constant = [textField(2, name), textField(4, 'Constant'), ...lengthDelimited(5, ...value)];
    this.edits.insert(graph, at, ...lengthDelimited(1, ...constant));
  }

  /** Adds a node to a graph, at a place between its nodes. */
  add(graph: Field, at: number, { op, domain = '', name = '', inputs, outputs, integers = {} }: NewNode): void {
    const attributes = Object.entries(integers).flatMap(([key, value]) =>
      lengthDelimited(5, textField(1, key), integerField(3, value), integerField(20, 2)),
    );
    const message = [
      ...inputs.map((input) => textField(1, input)),
      ...outputs.map((output) => textField(2, output)),
      ...(name === '' ? [] : [textField(3, name)]),
      textField(4, op),
      ...attributes,
      ...(domain === '' ? [] : [textField(7, domain)]),
    ];
    this.edits.insert(graph, at, ...lengthDelimited(1, ...message));
  }
}

function tensorMessage(name: string, { type, shape, numbers }: NewTensor): Piece[] {
  return [
    integerFields(1, shape),
    integerField(2, typeNumber(type)),
    ...(name === '' ? [] : [textField(8, name)]),
    ...('location' in numbers ? externalFields(numbers) : lengthDelimited(9, numbers)),
  ];
}

function externalFields({ location, offset, length }: ExternalPlace): Piece[] {
  const entry = (key: string, value: string) => lengthDelimited(13, textField(1, key), textField(2, value));
  return [
    ...entry('location', location),
    ...entry('offset', String(offset)),
    ...entry('length', String(length)),
    integerField(14, 1),
  ];
}
