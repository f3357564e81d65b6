import { counted, percent, percentOf } from '../../pruning/text.js';
import type { Examined } from './facts.js';
import type { RuntimeName } from './runtimes.js';

/** A command of this package that improves a model for a runtime. */
export interface Advice {
  /** The words after `sparsifier`. */
  readonly command: readonly string[];
  readonly why: string;
}

/** What is asked about a model, besides what it consists of. */
export interface Asked extends Examined {
  /** The path of its main file, as it was given. */
  readonly file: string;
  /** The facts that apply. */
  readonly facts: ReadonlySet<string>;
}

interface Row {
  readonly runtimes: readonly RuntimeName[];
  readonly applies: (asked: Asked) => boolean;
  readonly command: (file: string) => readonly string[];
  readonly why: string | ((asked: Asked) => string);
}

const ort: readonly RuntimeName[] = ['ort-web-wasm', 'ort-web-webgpu', 'ort-node'];
const cpu: readonly RuntimeName[] = ['ort-web-wasm', 'ort-node'];
const tfjs: readonly RuntimeName[] = ['tfjs-webgl', 'tfjs-wasm'];

/** Weights that are stored as float32, and worth another form. */
const isPlain = ({ facts, weights }: Asked): boolean => facts.has('plain-size') && weights >= 10_000;
const isSlow = ({ facts }: Asked): boolean =>
  ['dequantize-linear-node', 'dequantize-linear-wasm', 'nbits-wasm'].some((id) => facts.has(id));
const isWithoutZeros = ({ facts, weights }: Asked): boolean => !facts.has('zeros-size') && weights > 0;

/** The recipe of the docs. */
const pruning = (file: string): string[] => [
  ...['prune', file, '-s', '30', '--layer-type', 'all', '--exclude', 'is:depthwise', '--criteria', 'fluctuation'],
  ...['--calibrate', 'inputs.npz', '--repair', 'solve'],
];

/** Zeros make no runtime faster. */
const forSpeed = '. For speed, prune whole filters (--granularity filter), then take them out with remove-channels';

/** The first row that applies is the next command. */
const rows: readonly Row[] = [
  {
    runtimes: [...ort, ...tfjs],
    applies: ({ removable }) => removable !== undefined,
    command: (file) => ['remove-channels', file, '-o', `${named(file, 'small')}${isOnnx(file) ? '' : '/'}`],
    why: ({ removable }) => {
      const { channels, parameters } = removable!;
      const share = percent(percentOf(parameters.before - parameters.after, parameters.before));
      const them = channels === 1 ? 'that nothing needs goes, and with it' : 'that nothing needs go, and with them';
      return `${counted(channels, 'channel')} ${them} ${share} of the numbers: smaller and faster, with the same outputs`;
    },
  },
  {
    runtimes: cpu,
    applies: isSlow,
    command: (file) => ['dequantize', file, '-o', named(file, 'float32')],
    why: 'then quantize it again: int8 with Cast and Mul has a quarter of the bytes at the speed of float32',
  },
  {
    runtimes: cpu,
    applies: isPlain,
    command: (file) => ['quantize', file, '-o', named(file, 'int8')],
    why: ({ anatomy: { versions, operators } }) =>
      operators.has('MatMul') && (versions?.opset ?? 0) >= 11
        ? 'a quarter of the bytes; matrix products get faster, convolutions stay as fast'
        : 'a quarter of the bytes at the same speed',
  },
  {
    runtimes: ['ort-web-webgpu'],
    applies: isPlain,
    command: (file) => ['quantize', file, '--weights', 'int8', '-o', named(file, 'int8')],
    why: 'a quarter of the bytes at the same speed; int8-dynamic would run on the CPU',
  },
  {
    runtimes: tfjs,
    applies: isPlain,
    command: (file) => ['quantize', file, '-o', `${named(file, 'small')}/`],
    why: 'half of the bytes for convolutions, a quarter for other layers, at the same speed',
  },
  {
    runtimes: ort,
    applies: (asked) => isWithoutZeros(asked) && asked.facts.has('codes-size'),
    command: (file) => [...pruning('float32.onnx'), '--quantize', '-o', named(file, 'sparse')],
    why:
      'zeros make the download smaller. float32.onnx is the model before it was quantised, or what dequantize makes of this ' +
      `one; inputs.npz has inputs as the model gets them${forSpeed}`,
  },
  {
    runtimes: ort,
    applies: isWithoutZeros,
    command: (file) => [...pruning(file), '-o', named(file, 'sparse')],
    why: `zeros make the download smaller; inputs.npz has inputs as the model gets them${forSpeed}`,
  },
  {
    runtimes: tfjs,
    applies: isWithoutZeros,
    command: (file) => ['prune', file, '-s', '30', '--layer-type', 'all', '-o', `${named(file, 'sparse')}/`],
    why: 'zeros make the download smaller',
  },
];

/** The next command for a runtime, if there is one that helps. */
export function adviceFor(runtime: RuntimeName, asked: Asked): Advice | undefined {
  const row = rows.find(({ runtimes, applies }) => runtimes.includes(runtime) && applies(asked));
  return row && { command: row.command(asked.file), why: typeof row.why === 'string' ? row.why : row.why(asked) };
}

const isOnnx = (file: string): boolean => /\.onnx$/i.test(file);

/** The name of a new file beside another one, or of a folder for a model.json. */
function named(file: string, suffix: string): string {
  const base = file.replace(/^.*[\\/]/, '');
  const folder = file.slice(0, file.length - base.length);
  if (!isOnnx(base)) return `${folder}${suffix}`;
  return `${folder}${base.replace(/\.onnx$/i, '')}-${suffix}.onnx`;
}
