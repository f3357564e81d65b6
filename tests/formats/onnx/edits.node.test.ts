import fc from 'fast-check';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { Edits, fields, wholeFile, woven, type Field } from '../../support/internal.js';
import { bytesField, concat, integerField, textField, varint } from '../../support/onnx-builder.js';

const folder = fileURLToPath(new URL('../../cases/exporters/', import.meta.url));
const exporters = (await readdir(folder)).filter((name) => name.endsWith('.gz'));

// A file as a tree of fields that is written anew as a whole, with the lengths that its messages then have.

type Message = Readonly<Record<number, string>>;
const messages: Readonly<Record<string, Message>> = {
  model: { 7: 'graph', 8: 'opset' },
  graph: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph' },
  value: { 2: 'type' },
  type: { 1: 'tensorType' },
};

interface Part {
  /** The bytes of the tag, and for anything but a message those of the value. */
  readonly head: Uint8Array;
  readonly content: Tree | Uint8Array | undefined;
  readonly isReplaced?: boolean;
}

interface Tree {
  readonly parts: (Part | undefined)[];
  /** What is inserted before each part and behind the last one. */
  readonly inserted: Uint8Array[][];
}

function parse(bytes: Uint8Array, message: string): Tree {
  const parts: Part[] = [];
  let at = 0;
  const skip = () => {
    let value = 0;
    for (let place = 1; ; place *= 128) {
      const byte = bytes[at++]!;
      value += (byte % 128) * place;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const tag = skip();
    const wire = tag % 8;
    const end = at;
    if (wire === 2) {
      const length = skip();
      const value = bytes.subarray(at, at + length);
      at += length;
      const child = messages[message]?.[Math.floor(tag / 8)];
      parts.push({ head: bytes.subarray(start, end), content: child === undefined ? value : parse(value, child) });
    } else {
      if (wire === 0) skip();
      else at += wire === 1 ? 8 : 4;
      parts.push({ head: bytes.subarray(start, at), content: undefined });
    }
  }
  return { parts, inserted: Array.from({ length: parts.length + 1 }, () => []) };
}

function written({ parts, inserted }: Tree): Uint8Array {
  return concat(
    ...inserted[0]!,
    ...parts.flatMap((part, place) => [...(part === undefined ? [] : bytesOf(part)), ...inserted[place + 1]!]),
  );
}

function bytesOf({ head, content }: Part): Uint8Array[] {
  if (content === undefined) return [head];
  const value = content instanceof Uint8Array ? content : written(content);
  return [head, varint(value.length), value];
}

/** One edit, chosen by numbers between 0 and 1: where it is, and what is done there. */
interface Choice {
  readonly path: readonly number[];
  readonly verb: 'insert' | 'insert at the start' | 'insert at the end' | 'drop' | 'replace';
  readonly length: number;
  readonly isLazy: boolean;
}

const share = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const choice: fc.Arbitrary<Choice> = fc.record({
  path: fc.array(share, { minLength: 1, maxLength: 6 }),
  verb: fc.constantFrom('insert', 'insert at the start', 'insert at the end', 'drop', 'replace'),
  // On both sides of where a length takes another byte.
  length: fc.oneof(fc.nat(40), fc.constantFrom(100, 126, 127, 128, 129, 16380, 16383, 16384, 16390, 2 ** 21)),
  isLazy: fc.boolean(),
});

const filled = (length: number) => new Uint8Array(length).map((_, at) => at * 7 + 1);

/** Bytes that are only there when they are asked for, in two chunks. */
const lazy = (bytes: Uint8Array) => ({
  length: bytes.length,
  chunks: async function* () {
    yield bytes.subarray(0, bytes.length >> 1);
    yield bytes.subarray(bytes.length >> 1);
  },
});

/** Does an edit to the tree and plans the same one, if what it is about is still there. */
function edit(edits: Edits, tree: Tree, { path, verb, length, isLazy }: Choice): void {
  let outer: Field | undefined;
  let inside = [...fields(edits.file, wholeFile(edits.file), 'model')];
  let place = 0;
  for (const [depth, number] of path.entries()) {
    place = Math.floor(number * tree.parts.length);
    const content = tree.parts[place]?.content;
    if (depth === path.length - 1 || content === undefined || content instanceof Uint8Array) break;
    outer = inside[place]!;
    inside = [...fields(edits.file, outer, 'node')];
    tree = content;
    place = 0;
  }
  const bytes = bytesField(99, filled(length));
  const given = isLazy ? lazy(bytes) : bytes;
  const part = tree.parts[place];
  const field = inside[place];
  if (verb === 'drop' || verb === 'replace') {
    if (part === undefined || field === undefined || hasEdits(part)) return;
    if (verb === 'drop') {
      edits.drop(field);
      tree.parts[place] = undefined;
    } else if (part.content !== undefined) {
      edits.replace(field, field, given);
      tree.parts[place] = { head: part.head, content: bytes, isReplaced: true };
    }
    return;
  }
  if (verb === 'insert at the start') place = 0;
  if (verb === 'insert at the end') place = tree.parts.length;
  const at = inside[place]?.tagStart ?? outer?.end ?? edits.file.bytes.length;
  edits.insert(outer, at, given);
  tree.inserted[place]!.push(bytes);
}

const hasEdits = ({ content, isReplaced }: Part): boolean =>
  isReplaced === true ||
  (content !== undefined &&
    !(content instanceof Uint8Array) &&
    (content.inserted.some((each) => each.length > 0) ||
      content.parts.some((part) => part === undefined || hasEdits(part))));

async function edited(edits: Edits): Promise<Uint8Array> {
  const { bytes } = edits.file;
  const chunks: Uint8Array[] = [];
  const parts = async function* (start: number, end = bytes.length) {
    expect(start).toBeLessThanOrEqual(end);
    yield bytes.subarray(start, end);
  };
  for await (const chunk of woven(edits.list(), parts)) chunks.push(chunk);
  return concat(...chunks);
}

/** `Buffer.compare` is much faster than `toEqual`. */
const areEqual = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;

describe('random edits', () => {
  test.each(exporters)('All other bytes of %s stay, and lengths follow', async (name) => {
    const bytes = new Uint8Array(gunzipSync(await readFile(folder + name)));
    const file = { name, bytes };
    expect(areEqual(written(parse(bytes, 'model')), bytes)).toBe(true);
    await fc.assert(
      fc.asyncProperty(fc.array(choice, { maxLength: 12 }), async (choices) => {
        const [edits, tree] = [new Edits(file), parse(bytes, 'model')];
        for (const each of choices) edit(edits, tree, each);
        expect(areEqual(await edited(edits), written(tree))).toBe(true);
      }),
      { numRuns: 8 },
    );
  });

  // Messages that begin and end at one place, so that edits meet there.
  const inner = bytesField(6, bytesField(1, textField(3, 'node')));
  const small = bytesField(7, concat(bytesField(1, bytesField(5, inner)), bytesField(1, new Uint8Array())));
  test('All other bytes of a small file stay where edits meet', async () => {
    const file = { name: 'small', bytes: small };
    await fc.assert(
      fc.asyncProperty(fc.array(choice, { maxLength: 15 }), async (choices) => {
        const [edits, tree] = [new Edits(file), parse(small, 'model')];
        for (const each of choices) edit(edits, tree, each);
        expect(areEqual(await edited(edits), written(tree))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the lengths of messages', () => {
  const build = (size: number, inserted: Uint8Array) =>
    concat(integerField(1, 8), bytesField(7, bytesField(1, concat(bytesField(3, filled(size)), inserted))));

  test.each([1, 2, 3, 4])('A message whose length then takes %i bytes makes those around it longer', async (count) => {
    for (const from of [0, 100, 16_000]) {
      for (let size = 128 ** (count - 1) - 12; size < 128 ** (count - 1) + 3; size++) {
        if (size < from) continue;
        const file = { name: 'model', bytes: build(from, new Uint8Array()) };
        const edits = new Edits(file);
        const graphs = [...fields(file, wholeFile(file), 'model')];
        const [inner] = fields(file, graphs[1]!, 'graph');
        const added = bytesField(4, filled(size - from));
        edits.insert(inner, inner!.end, added);
        expect(areEqual(await edited(edits), build(from, added))).toBe(true);
      }
    }
  });

  test('A length that takes more bytes than it needs stays if the size of its message does', async () => {
    const overlong = (content: Uint8Array) => concat(Uint8Array.of((7 << 3) | 2, content.length | 0x80, 0), content);
    const file = { name: 'model', bytes: overlong(textField(2, 'before')) };
    const edits = new Edits(file);
    const [outer] = fields(file, wholeFile(file), 'model');
    const [inner] = fields(file, outer!, 'graph');
    edits.replace(inner, inner!, new TextEncoder().encode('behind'));
    expect(await edited(edits)).toEqual(overlong(textField(2, 'behind')));
  });
});

test('Bytes that are inserted into a message come before those behind it, and otherwise in the order of the calls', async () => {
  const file = { name: 'model', bytes: bytesField(7, bytesField(1, textField(3, 'a'))) };
  const edits = new Edits(file);
  const [graph] = fields(file, wholeFile(file), 'model');
  const [inner] = fields(file, graph!, 'graph');
  edits.insert(undefined, file.bytes.length, textField(2, '5'));
  edits.insert(graph, graph!.end, textField(2, '3'));
  edits.insert(inner, inner!.end, textField(2, '1'));
  edits.insert(graph, graph!.end, textField(2, '4'));
  edits.insert(inner, inner!.end, textField(2, '2'));
  const numbered = (...texts: string[]) => texts.map((text) => textField(2, text));
  const within = bytesField(1, concat(textField(3, 'a'), ...numbered('1', '2')));
  expect(await edited(edits)).toEqual(concat(bytesField(7, concat(within, ...numbered('3', '4'))), ...numbered('5')));
});

test('Edits that replace the same bytes are an error', () => {
  const file = { name: 'model', bytes: bytesField(7, bytesField(1, textField(3, 'a'))) };
  const edits = new Edits(file);
  const [graph] = fields(file, wholeFile(file), 'model');
  const [inner] = fields(file, graph!, 'graph');
  edits.insert(inner, inner!.end, textField(3, 'b'));
  edits.drop(graph!);
  expect(() => edits.list()).toThrow('two edits replace byte');
});
