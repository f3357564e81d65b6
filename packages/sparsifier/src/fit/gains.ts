import type { FileModel } from '../formats/file-model.js';
import type { FileCompressor } from '../formats/sizes.js';
import type { Compression } from '../host/compressor.js';
import { decisionsOf, type Rules } from '../options/rules.js';
import { Sparsifier } from '../pruning/sparsifier.js';
import type { Made } from './make.js';

/** How far apart brotli finds repetitions, in bytes: in larger files each layer is compressed by itself, more or less. */
export const window = 2 ** 22;

/** How much of a layer is removed to see what zeros save, in percent. */
const share = 50;

/**
 * The layers whose zeros make the compressed files no smaller, and why they are not pruned. Of such layers the files have
 * copies, which a compressor stores once and zeros would make differ, as those of the filters of transforms.
 * @param model is as before afterwards
 * @param files those of the model, no more than {@link window} bytes
 */
export async function withoutGain(
  model: FileModel,
  files: Made['files'],
  rules: Rules,
  {
    compressor,
    compression,
    signal,
  }: {
    readonly compressor: FileCompressor;
    readonly compression: Compression;
    readonly signal: AbortSignal | undefined;
  },
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const selected = decisionsOf(rules, model);
  const before = await compressor.bytesOf(files, compression, { signal });
  const sparsifier = new Sparsifier(model, { context: 'local', layerType: 'all', restorable: true });
  try {
    for (const [index, { name }] of model.tensors.entries()) {
      if (!selected[index]!.selected) continue;
      await sparsifier.sparsifyLayer(name, share, { signal });
      const after = await compressor.bytesOf(await model.toFiles(), compression, { signal });
      if (after >= before) found.set(name, 'zeros in it make the compressed files no smaller');
      await sparsifier.restore({ signal });
    }
  } finally {
    sparsifier.clear();
  }
  return found;
}
