import * as host from '#host';
import type { GiveFile, ModelSource } from './sources.js';
import { openOnnx } from './onnx/open.js';
import type { LayerDescriptions } from './safetensors/layers.js';
import { openSafetensors } from './safetensors/open.js';
import type { OpenModel } from '../streaming/model.js';

/** What the formats take, each its own. */
export interface OpenOptions {
  readonly layers?: LayerDescriptions | undefined;
  readonly shards?: GiveFile | undefined;
  readonly external?: GiveFile | undefined;
}

/** Opens a model of either format. */
export async function openModel(source: ModelSource, options: OpenOptions = {}): Promise<OpenModel> {
  return (await isSafetensors(source)) ? openSafetensors(source, options) : openOnnx(source, options);
}

/** Whether a path or an address is one of safetensors or of an index, by its name. */
export const isSafetensorsName = (name: string): boolean => /\.(safetensors|index\.json)([?#].*)?$/i.test(name);

/** Whether a path or an address is one of a TensorFlow.js model, by its name. */
export const isTfjsName = (name: string): boolean => /\.json([?#].*)?$/i.test(name) && !isSafetensorsName(name);

/** Whether a source is a TensorFlow.js model: a path or an address by its name, others by their keys. */
export async function isTfjs(source: ModelSource): Promise<boolean> {
  if (typeof source === 'string' || source instanceof URL) return isTfjsName(source.toString());
  const opened = await host.open(source);
  const bytes = new Uint8Array(Math.min(1, opened.size));
  await opened.read(bytes, 0);
  if (!/[{[]/.test(String.fromCharCode(...bytes))) return false;
  const text = new Uint8Array(opened.size);
  await opened.read(text, 0);
  return new TextDecoder().decode(text).includes('"weightsManifest"');
}

async function isSafetensors(source: ModelSource): Promise<boolean> {
  if (typeof source === 'string' || source instanceof URL) return isSafetensorsName(source.toString());
  const opened = await host.open(source);
  const bytes = new Uint8Array(Math.min(9, opened.size));
  await opened.read(bytes, 0);
  // JSON, or the length of a header of JSON, which is far below 2^32.
  return /^\s*\{|^.{4}\0{4}\{/s.test(String.fromCharCode(...bytes));
}
