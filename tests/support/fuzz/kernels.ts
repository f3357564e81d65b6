// The exports of the wasm, with addresses, lengths and tables that nobody should give them. Node only.
import { readFileSync } from 'node:fs';
import { loadEngine } from 'sparsifier';
import { weightwise, expectSame, layerOf, layoutOf, sparsified } from '../layers.js';
import { removal, without } from '../oracle.js';
import {
  callsOf,
  element,
  finishWord,
  finishWords,
  fitWord,
  fitWords,
  momentsWord,
  momentsWords,
  recordWords,
  surveyWords,
  word,
  type Call,
  type Verb,
} from '../internal.js';
import type { Input } from './input.js';
import { attempt, hold, type Target } from './target.js';

/** A number, or `@2+4`: the address four bytes behind the beginning of the third block. */
type Number32 = number | string;

/** Blocks of memory with words in them, and calls of verbs, one after another. */
interface Program {
  readonly blocks: readonly (readonly Number32[])[];
  readonly calls: readonly (readonly [verb: string, ...numbers: Number32[]])[];
}

const wasm = new WebAssembly.Module(
  readFileSync(new URL('../../../packages/sparsifier/dist/wasm/sparsifier_wasm_bg.wasm', import.meta.url)),
);

/** The export that wasm-bindgen calls first. */
const begin = '__wbindgen_start';

/** How many numbers each verb takes. */
const verbs: Readonly<Record<Verb, number>> = {
  ...{ allocate: 1, release: 2, inspect: 2, score: 2, survey: 6, select: 4, nm: 2, mask: 2, save: 2, restore: 2 },
  ...{ apply: 2, remove: 2, moments: 1, finish: 1, fit: 2 },
};
const isVerb = (name: unknown): name is Verb => typeof name === 'string' && Object.hasOwn(verbs, name);

/** Room for so many pages of 64 kB: little, so that there is none for large blocks. */
const mostPages = 256;

/** The exports in a memory of their own, on this thread alone, where a trap is an error. */
class Instance {
  readonly memory = new WebAssembly.Memory({ initial: 64, maximum: mostPages, shared: true });
  readonly #exports: WebAssembly.Exports;

  constructor() {
    const imports: Record<string, unknown> = { memory: this.memory };
    // They ask for a window, in which there would be one more way to wait, and find none. Others are never called.
    for (const { name, kind } of WebAssembly.Module.imports(wasm)) if (kind === 'function') imports[name] = () => 0;
    this.#exports = new WebAssembly.Instance(wasm, { './sparsifier_wasm_bg.js': imports } as never).exports;
    (this.#exports[begin] as () => void)();
  }

  call([verb, ...numbers]: Call): number {
    return ((this.#exports[verb] as (...numbers: number[]) => number | undefined)(...numbers) ?? 0) >>> 0;
  }
}

/** The program in a file, or undefined for what is none. */
function programIn({ bytes }: Input): Program | undefined {
  try {
    const { blocks, calls } = JSON.parse(Buffer.from(bytes).toString()) as Program;
    const isProgram = [blocks, calls].every(Array.isArray) && [...blocks, ...calls].every(Array.isArray);
    return isProgram && calls.every(([verb]) => isVerb(verb)) ? { blocks, calls } : undefined;
  } catch {
    return undefined;
  }
}

/** The numbers of a call: as many as its verb takes. */
function numbersOf([verb, ...given]: Program['calls'][number], numberOf: (given: Number32) => number): Call {
  const numbers = Array.from({ length: verbs[verb as Verb] }, (_, place) => numberOf(given[place] ?? 0));
  return [verb as Verb, ...numbers];
}

/** What a number of the program is, given where its blocks are. */
const numbersAt =
  (addresses: readonly number[]) =>
  (given: unknown): number => {
    const [, block, offset = '0'] = /^@(\d+)(?:\+(\d+))?$/.exec(String(given)) ?? [];
    if (block !== undefined) return ((addresses[Number(block)] ?? 0) + Number(offset)) >>> 0;
    return typeof given === 'number' ? given >>> 0 : 0;
  };

/** Runs a program. @returns the results, the last one undefined if the call trapped */
function run({ blocks, calls }: Program): (number | undefined)[] {
  const instance = new Instance();
  const addresses = blocks.map((words) => instance.call(['allocate', 4 * words.length]));
  const numberOf = numbersAt(addresses);
  blocks.forEach((words, place) => {
    if (addresses[place] === 0) return;
    new Uint32Array(instance.memory.buffer, addresses[place], words.length).set(words.map(numberOf));
  });
  const results: (number | undefined)[] = [];
  for (const each of calls) {
    const call = numbersOf(each, numberOf);
    try {
      const result = instance.call(call);
      results.push(result);
      if (call[0] === 'allocate') hold(result < instance.memory.buffer.byteLength, 'a block is beyond the memory');
      else if (call[0] !== 'release') hold(result <= 2, `${call[0]} returns ${result}`);
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
      results.push(undefined);
      break;
    }
  }
  return results;
}

const layers = { conv: layerOf(layoutOf('conv2d')), dense: layerOf(layoutOf('dense')) };

/** Runs a program that trapped in the engine of the library, which is to report it and to be replaced. */
async function inEngine({ blocks, calls }: Program): Promise<void> {
  const engine = await loadEngine();
  await attempt(async () => {
    const held = await Promise.all(blocks.map((words) => engine.allocate(4 * words.length)));
    const numberOf = numbersAt(held.map(({ address }) => address));
    await Promise.all(
      held.map((block, place) =>
        block.write(new Uint8Array(Uint32Array.from(blocks[place]!, numberOf as (given: Number32) => number).buffer)),
      ),
    );
    await callsOf(
      engine,
      calls.map((call) => numbersOf(call, numberOf)),
    );
  });
  if ((await loadEngine()) === engine) return;
  const { layers: after } = await sparsified(layers, 50, weightwise);
  expectSame(after, without(layers, removal(layers, 50, weightwise), 'weight'));
}

const floats = (...numbers: number[]): number[] => [...new Uint32Array(Float32Array.from(numbers).buffer)];
const zeros = (count: number): number[] => Array<number>(count).fill(0);

/** Words by their names, where the first one of a name is. */
function wordsOf<Name extends string>(
  places: Readonly<Record<Name, number>>,
  count: number,
  given: Partial<Record<Name, Number32 | readonly Number32[]>>,
): Number32[] {
  const words: Number32[] = zeros(count);
  for (const [name, value] of Object.entries(given) as [Name, Number32 | readonly Number32[]][])
    [value].flat().forEach((each, place) => (words[places[name] + place] = each as Number32));
  return words;
}

const matrix = {
  weights: '@1',
  axes: 2,
  sizes: [2, 3],
  orders: [0, 1],
  blocks: [1, 1],
  element: element.magnitude,
} as const;

const record = (given: Parameters<typeof wordsOf<keyof typeof word>>[2] = {}): Number32[] =>
  wordsOf(word, recordWords, { ...matrix, ...given });

const weights = floats(3, -1, 2, -5, 4, 0);

/** Block 0 is the table, 1 the weights, and the others are what the verb needs. */
const program = (table: Number32[], others: (readonly Number32[])[], ...calls: Program['calls'][number][]): Input => ({
  bytes: Uint8Array.from(new TextEncoder().encode(JSON.stringify({ blocks: [table, weights, ...others], calls }))),
});

const cut = { removed: 3, key: 2 ** 31 + 0x4000_0000, bound: 1 };
const rows = { groups: 1, channels: 1, kernel: [1, 1, 3], strides: [1, 1, 1], dilations: [1, 1, 1] } as const;
const batch = { inputs: '@1', length: 6, samples: 2, space: [1, 1, 3], positions: [1, 1, 1], steps: [3, 3, 3, 3, 1] };
const fitted = {
  dense: '@1',
  sizes: [1, 2, 3, 1, 1, 1],
  steps: [6, 3, 1, 1, 1, 1],
  seen: ['@4', '@5', 0, 0, 0],
  checks: [0, 2],
  checkCount: 2,
  hasBias: 1,
  shift: '@6',
};

const valid: Readonly<Record<string, Input>> = {
  inspect: program(record(), [], ['inspect', '@0', 1]),
  'two records at once': program(
    [...record(), ...record({ weights: '@1+8', sizes: [1, 3] })],
    [],
    ['inspect', '@0', 2],
  ),
  score: program(record({ scores: '@2' }), [zeros(6)], ['score', '@0', 1]),
  'score rows, normalised': program(
    record({ scores: '@2', blocks: [1, 3], reducer: 2, normalizer: 6 }),
    [zeros(2)],
    ['score', '@0', 1],
  ),
  'score at random': program(
    record({ scores: '@2', element: element.random, seed: 7 }),
    [zeros(6)],
    ['score', '@0', 1],
  ),
  'score against others': program(
    record({ scores: '@2', element: element.distance, other: '@1', otherLength: 6 }),
    [zeros(6)],
    ['score', '@0', 1],
  ),
  'score with norms of channels': program(
    record({
      scores: '@2',
      element: element.scaledMagnitude,
      other: '@1',
      otherLength: 3,
      channelSteps: [1, 3, 1, 1, 1, 0],
    }),
    [zeros(6)],
    ['score', '@0', 1],
  ),
  select: program(record({ limit: 6 }), [[3]], ['select', '@0', 1, '@2', 1]),
  'select among two, then mask and apply': program(
    [...record({ mask: '@3', limit: 6 }), ...record({ mask: '@4', limit: 6, group: 0 })],
    [[5], [0], [0]],
    ['select', '@0', 2, '@2', 1],
    ['mask', '@0', 2],
    ['apply', '@0', 2],
  ),
  remove: program(record({ mask: '@2', ...cut }), [[0]], ['remove', '@0', 1]),
  'remove behind an earlier mask': program(
    record({ mask: '@2', earlier: '@3', ...cut }),
    [[0], [0xffff_fffe]],
    ['remove', '@0', 1],
  ),
  nm: program(record({ mask: '@2', keep: 1, of: 2, along: 1 }), [[0]], ['nm', '@0', 1]),
  'save, apply and restore': program(
    record({ mask: '@2', saved: '@3', savedLength: 6 }),
    [[0xffff_fff5], zeros(6)],
    ['save', '@0', 1],
    ['apply', '@0', 1],
    ['restore', '@0', 1],
  ),
  survey: program(record(), [zeros(surveyWords), zeros(8)], ['survey', '@0', 2 ** 31, 2 ** 32 - 1, '@2', '@3', 8]),
  moments: program(
    [],
    [wordsOf(momentsWord, momentsWords, { ...rows, ...batch, sums: '@3' }), zeros(128)],
    ['moments', '@2'],
  ),
  'moments of two models': program(
    [],
    [wordsOf(momentsWord, momentsWords, { ...rows, ...batch, sums: '@3', second: '@1' }), zeros(128)],
    ['moments', '@2'],
  ),
  'the diagonal of moments': program(
    [],
    [wordsOf(momentsWord, momentsWords, { ...rows, ...batch, sums: '@3', isDiagonal: 1 }), zeros(128)],
    ['moments', '@2'],
  ),
  'moments behind a transposed convolution': program(
    [],
    [
      wordsOf(momentsWord, momentsWords, { ...rows, ...batch, sums: '@3', transposed: 1, strides: [1, 1, 2] }),
      zeros(128),
    ],
    ['moments', '@2'],
  ),
  finish: program(
    [],
    [
      wordsOf(finishWord, finishWords, { sums: '@3', groups: 1, columns: 3, moments: '@4', means: '@5' }),
      zeros(128),
      zeros(9),
      zeros(3),
    ],
    ['finish', '@2'],
  ),
  fit: program(
    record({ mask: '@3' }),
    [wordsOf(fitWord, fitWords, fitted), [0xffff_fff5], floats(4, 1, 0, 1, 4, 1, 0, 1, 4), floats(1, 0, -1), zeros(2)],
    ['fit', '@0', '@2'],
  ),
  'blocks given and taken': program([], [], ['allocate', 1000], ['allocate', 0], ['allocate', 2 ** 32 - 1]),
};

const hostile: Readonly<Record<string, Input>> = {
  'a table beyond the memory': program(record(), [], ['inspect', 2 ** 32 - 4, 1]),
  'a table at 0': program(record(), [], ['inspect', 0, 1]),
  'a table that is not aligned': program(record(), [], ['inspect', '@0+2', 1]),
  'more records than memory has': program(record(), [], ['inspect', '@0', 2 ** 32 - 1]),
  'weights beyond the memory': program(record({ weights: 2 ** 32 - 8 }), [], ['inspect', '@0', 1]),
  'sizes whose product is 0 in 32 bits': program(record({ sizes: [65536, 65536] }), [], ['inspect', '@0', 1]),
  'sizes of 0': program(record({ sizes: [0, 0], scores: '@2' }), [[0]], ['score', '@0', 1]),
  'blocks of 0': program(record({ blocks: [0, 0], scores: '@2' }), [[0]], ['score', '@0', 1]),
  'more axes than a record has': program(record({ axes: 2 ** 31, scores: '@2' }), [[0]], ['score', '@0', 1]),
  'an order twice': program(record({ orders: [1, 1], scores: '@2' }), [zeros(6)], ['score', '@0', 1]),
  'scores on the weights': program(record({ scores: '@1' }), [], ['score', '@0', 1]),
  'a mask on the weights': program(record({ mask: '@1', ...cut }), [], ['remove', '@0', 1]),
  'a mask on the table': program(record({ mask: '@0', ...cut }), [], ['mask', '@0', 1]),
  'a group beyond the groups': program(record({ group: 2 ** 32 - 1, limit: 6 }), [[3]], ['select', '@0', 1, '@2', 1]),
  'more groups than memory has': program(record(), [[3]], ['select', '@0', 1, '@2', 2 ** 30]),
  'more units than there are': program(record({ limit: 6 }), [[2 ** 32 - 1]], ['select', '@0', 1, '@2', 1]),
  'an unknown element': program(record({ element: 200, scores: '@2' }), [zeros(6)], ['score', '@0', 1]),
  'an unknown type': program(record({ dataType: 3 }), [], ['inspect', '@0', 1]),
  'a pattern of nothing': program(record({ mask: '@2', keep: 0, of: 0, along: 1 }), [[0]], ['nm', '@0', 1]),
  'a pattern along no axis': program(record({ mask: '@2', keep: 1, of: 2, along: 7 }), [[0]], ['nm', '@0', 1]),
  'a step of 0': program(
    record({ scores: '@2', element: 13, other: '@1', otherLength: 3, channelSteps: [1, 0, 1, 0, 0, 0] }),
    [zeros(6)],
    ['score', '@0', 1],
  ),
  'a bracket whose ends are the wrong way round': program(
    record(),
    [zeros(surveyWords), zeros(8)],
    ['survey', '@0', 2 ** 32 - 1, 0, '@2', '@3', 8],
  ),
  'as many positions as there are numbers': program(
    [],
    [
      wordsOf(momentsWord, momentsWords, {
        ...rows,
        ...batch,
        sums: '@3',
        samples: 2 ** 32 - 1,
        positions: [2 ** 10, 2 ** 10, 2 ** 10],
        steps: [0, 0, 0, 0, 0],
      }),
      zeros(128),
    ],
    ['moments', '@2'],
  ),
  'a stride of 0': program(
    [],
    [
      wordsOf(momentsWord, momentsWords, { ...rows, ...batch, sums: '@3', strides: [0, 0, 0], transposed: 1 }),
      zeros(128),
    ],
    ['moments', '@2'],
  ),
  'columns whose square is 0 in 32 bits': program(
    [],
    [wordsOf(finishWord, finishWords, { sums: '@1', groups: 1, columns: 65536, moments: '@1', means: '@1' })],
    ['finish', '@2'],
  ),
  'a block that was never given': program([], [], ['release', '@1+4', 24]),
  'a block with another size': program([], [], ['release', '@1', 2 ** 32 - 1]),
  'a block twice': program([], [], ['release', '@1', 24], ['release', '@1', 24], ['allocate', 24]),
};

export const kernels: Target = {
  files: ['engine/'],
  seeds: async () => ({ ...valid, ...hostile }),
  check: async (input) => {
    const asked = programIn(input);
    if (asked === undefined) return false;
    const results = run(asked);
    if (results.at(-1) === undefined && results.length > 0) await inEngine(asked);
    return results.some((result) => result === 0);
  },
};
