import { childOf, fields, text, wholeFile, WireType, type Message, type ModelFile, type Range } from './wire.js';

/** The fields of messages that are names of values or nodes. */
const nameFields: Partial<Record<Message, readonly number[]>> = {
  node: [1, 2, 3],
  tensor: [8],
  valueInfo: [1],
  function: [4, 5],
};

/** All names of values and nodes in a model file, also in its subgraphs and local functions. */
export function namesIn(file: ModelFile): Set<string> {
  const names = new Set<string>();
  const messages: { readonly range: Range; readonly message: Message }[] = [
    { range: wholeFile(file), message: 'model' },
  ];
  for (const { range, message } of messages) {
    for (const field of fields(file, range, message)) {
      if (field.type !== WireType.LengthDelimited) continue;
      if (nameFields[message]?.includes(field.number)) names.add(text(file, field));
      const isValue = message === 'graph' && field.number >= 11 && field.number <= 13;
      const child = isValue ? 'valueInfo' : childOf(message, field.number);
      if (child !== undefined) messages.push({ range: field, message: child });
    }
  }
  return names;
}

/** Names that are taken. Each is used only once. */
export class Names {
  readonly #taken: Set<string>;
  /** The next number that is tried for a name. */
  readonly #numbers = new Map<string, number>();

  constructor(taken: Iterable<string> = []) {
    this.#taken = new Set(taken);
  }

  isFree(name: string): boolean {
    return name !== '' && !this.#taken.has(name);
  }

  /** The first of the names that is free, or else the last one with a number. */
  take(...wanted: string[]): string {
    const last = wanted.at(-1)!;
    let name = wanted.find((candidate) => this.isFree(candidate));
    let number = this.#numbers.get(last) ?? 2;
    for (; name === undefined; number++) {
      if (this.isFree(`${last}#${number}`)) name = `${last}#${number}`;
    }
    this.#numbers.set(last, number);
    this.#taken.add(name);
    return name;
  }
}
