import * as host from '#host';
import { columnsOf } from '../engine/rows.js';
import { SparsifyError, attempt } from '../errors.js';
import { joinedBytes } from '../formats/joined.js';
import { readingOf, readingShape, type ReadOptions } from '../formats/reading.js';
import type { ModelSource } from '../formats/sources.js';
import { rowSizes } from '../model/channels.js';
import { typeOf, type Model, type Skipped, type WeightTensor } from '../model/model.js';
import { inTurn } from '../model/turns.js';
import type { InputStatistics, LayerInputStatistics } from '../options/options.js';
import { aBoolean, optionsOf } from '../options/check.js';
import { chunksOf, readLayers } from './file.js';
import { checkLayerStatistics, mergeLayers, sizesInWords, type LayerStatistics } from './layer-statistics.js';

export interface WriteStatisticsOptions {
  /** Overwrite an existing file. Files that the statistics, or the model, were read from are never overwritten. */
  readonly force?: boolean;
}

/** Statistics of the inputs of a model's layers, as `calibrate` measures them or `readStatistics` reads them. */
export class Statistics {
  /** By the name of the layer. */
  readonly layers: ReadonlyMap<string, LayerStatistics>;
  /** Layers without statistics, and why. Not stored in files. */
  readonly skipped: readonly Pick<Skipped, 'name' | 'reason'>[];
  /**
   * Notes on what was not measured: held-out rows, or all moments of layers that are too large. Not stored in files.
   */
  readonly notes: readonly string[];
  /** The paths of the files that they were read from, or that the model was. {@link write} does not write to these. */
  readonly sourceFiles: readonly string[];

  constructor(
    layers: ReadonlyMap<string, LayerStatistics>,
    skipped: readonly Pick<Skipped, 'name' | 'reason'>[] = [],
    notes: readonly string[] = [],
    sourceFiles: readonly string[] = [],
  ) {
    attempt('the statistics', () => {
      const isStatistics = layers instanceof Map && [skipped, notes].every(Array.isArray);
      if (!isStatistics) {
        throw new SparsifyError(
          'usage',
          'statistics are made of a Map of layers, and lists of skipped layers and notes',
          {
            found: typeOf(layers),
          },
        );
      }
      for (const [name, layer] of layers) checkLayerStatistics(String(name), layer);
    });
    this.layers = layers;
    this.skipped = skipped;
    this.notes = notes;
    this.sourceFiles = sourceFiles;
  }

  /**
   * Statistics of the batches of both, as one calibration with all of them would measure them. Layers that only one of
   * them has are kept.
   * @throws SparsifyError `criteria` if a layer has another shape or other weights
   */
  merge(other: Statistics): Statistics {
    attempt('the statistics', () => {
      if (!(other instanceof Statistics)) {
        throw new SparsifyError('usage', 'statistics are merged with other statistics', { found: typeOf(other) });
      }
    });
    const layers = new Map(this.layers);
    for (const [name, layer] of other.layers) {
      const own = layers.get(name);
      layers.set(name, own ? mergeLayers(name, own, layer) : layer);
    }
    const skipped = new Map(
      [...this.skipped, ...other.skipped].filter(({ name }) => !layers.has(name)).map((each) => [each.name, each]),
    );
    const notes = new Set([...this.notes, ...other.notes]);
    return new Statistics(layers, [...skipped.values()], [...notes], [...this.sourceFiles, ...other.sourceFiles]);
  }

  /** The bytes of a file that {@link readStatistics} reads. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const chunks = chunksOf(this.layers);
    return joinedBytes(() => chunks);
  }

  /**
   * Writes a file that {@link readStatistics} reads.
   * @param target a path, in Node, or a stream, which is closed afterwards
   * @throws SparsifyError `file` if the file exists and `force` is not set, or the statistics or the model were read from
   *   it; `usage` for a path in browsers
   */
  async write(
    target: string | WritableStream<Uint8Array<ArrayBuffer>>,
    options: WriteStatisticsOptions = {},
  ): Promise<void> {
    const { force } = optionsOf(options, { force: aBoolean });
    host.checkTarget(target);
    const chunks = chunksOf(this.layers);
    if (typeof target !== 'string') return host.writeStream(target, chunks);
    await host.writeFiles([{ path: target, chunks: () => chunks }], { force, sourceFiles: this.sourceFiles });
  }

  /**
   * Checks that these are statistics of a model. Its layers that have none are not an error.
   * @param model its layers, and the weights that they had when the statistics were measured
   * @returns notes on what could not be checked
   * @throws SparsifyError `criteria` if a layer has another shape or other weights, or no layer has statistics
   */
  async check(model: Pick<Model, 'tensors' | 'copy'>): Promise<readonly string[]> {
    const isModel = attempt('the model', () => Array.isArray(model?.tensors) && typeof model.copy === 'function');
    if (!isModel) throw new SparsifyError('usage', 'statistics are checked with a model', { found: typeOf(model) });
    return inTurn(model, () => this.#checked(model));
  }

  async #checked(model: Pick<Model, 'tensors' | 'copy'>): Promise<readonly string[]> {
    const { found, notes } = measuredOf(this, model.tensors);
    const unchecked: string[] = [];
    for (const { name, values } of found) {
      const { sha256 } = this.layers.get(name)!;
      const digest = sha256 && (await digestOf(await model.copy(values)));
      if (digest === undefined) unchecked.push(name);
      else if (digest !== sha256) {
        throw new SparsifyError('criteria', 'the statistics are those of other weights', {
          subject: name,
          given: `weights with SHA-256 ${digest}`,
          found: `statistics for SHA-256 ${sha256}`,
          hint: 'Measure them with this model, before anything is removed from it',
        });
      }
    }
    return [
      ...(unchecked.length === 0
        ? []
        : [`whether the statistics belong to these weights could not be checked: ${listed(unchecked)}`]),
      ...notes,
    ];
  }
}

/**
 * The layers of a model that have statistics.
 * @returns them, and notes on statistics of other layers
 * @throws SparsifyError `criteria` if there are none, or if one has another shape than its statistics
 */
export function measuredOf(
  { layers, skipped = [] }: Pick<InputStatistics, 'layers'> & Partial<Pick<Statistics, 'skipped'>>,
  tensors: readonly WeightTensor[],
): { readonly found: readonly WeightTensor[]; readonly notes: readonly string[] } {
  if (layers.size === 0) {
    throw new SparsifyError('criteria', 'the statistics have no layers', {
      hint: skipped.length > 0 ? 'Their property `skipped` says why' : 'Measure them with `calibrate`',
    });
  }
  const found = tensors.filter(({ name }) => layers.has(name));
  if (found.length === 0) {
    throw new SparsifyError('criteria', 'the statistics are those of another model: it has no layer of these names', {
      given: listed([...layers.keys()]),
      allowed: tensors.map(({ name }) => name),
    });
  }
  for (const tensor of found) checkShape(tensor, layers.get(tensor.name)!);
  const names = new Set(tensors.map(({ name }) => name));
  const others = [...layers.keys()].filter((name) => !names.has(name));
  const notes =
    others.length === 0 ? [] : [`the statistics have layers that the model does not have: ${listed(others)}`];
  return { found, notes };
}

/** The first names, and how many more there are. */
export const listed = (names: readonly string[]): string =>
  names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${names.length - 3} more` : '');

/**
 * Reads statistics that {@link Statistics.write} wrote, or that were measured elsewhere. `norm` and `heldOut` may be
 * missing; numbers of 64 bits (F64) are rounded to 32.
 * @param source a path or URL in Node; a URL, a Blob or bytes anywhere. In browsers a string is a URL.
 * @throws SparsifyError `file` if it cannot be read; `format` if it is not a file of a known version, a tensor is
 *   missing or has another type or shape, no inputs can have such numbers, or a limit is exceeded; `usage` for unknown
 *   options; the signal's reason if aborted
 */
export async function readStatistics(source: ModelSource, options: ReadOptions = {}): Promise<Statistics> {
  const { layers, path } = await readLayers(source, readingOf(optionsOf(options, readingShape)));
  return new Statistics(layers, [], [], path === undefined ? [] : [path]);
}

/** The SHA-256 of bytes in hexadecimal; undefined where there is none, in pages that are no secure contexts. */
export async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  const { subtle } = (globalThis as { crypto?: Partial<Crypto> }).crypto ?? {};
  if (subtle === undefined) return undefined;
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * The SHA-256 of the file that {@link Statistics.write} would write; undefined where there is none, or no file can hold them.
 */
export async function fileDigestOf({ layers }: Pick<InputStatistics, 'layers'>): Promise<string | undefined> {
  try {
    const chunks = chunksOf(layers as Statistics['layers']);
    return await digestOf(await joinedBytes(() => chunks));
  } catch (error) {
    if (error instanceof SparsifyError && error.code === 'usage') return undefined;
    throw error;
  }
}

function checkShape(tensor: WeightTensor, statistics: LayerInputStatistics): void {
  const sizes = rowSizes(tensor);
  const { groups, inputs } = sizes;
  const columns = columnsOf(sizes);
  const { norm } = statistics;
  const fits = statistics.groups === groups && statistics.columns === columns;
  if (fits && (norm === undefined || norm.length === groups * inputs)) return;
  throw new SparsifyError('criteria', 'the statistics are those of a layer of another shape', {
    subject: tensor.name,
    given: sizesInWords({ groups, columns }),
    found: fits ? `${norm!.length} norms for ${groups * inputs} input channels` : sizesInWords(statistics),
    ...(groups === 1 && statistics.groups > 1
      ? { hint: 'A safetensors file does not say how many groups a layer has: describe it with the option `layers`' }
      : {}),
  });
}
