import { StoredValues } from '../formats/format.js';
import { bytesOf, type Model, type Values } from '../model/model.js';
import { inspect } from '../pruning/inspect.js';
import { percentOf } from '../pruning/text.js';
import type { Part, SaidOfLayer } from './parts.js';

/** The models that reports are about. */
export interface PageModels {
  readonly before?: Model | undefined;
  readonly after?: Model | undefined;
}

/** A layer of the new model. What is undefined is not known. */
export interface PageLayer {
  readonly name: string;
  readonly kind: string;
  /** In stored order. */
  readonly shape: readonly number[];
  readonly form: string | undefined;
  /** Its output channels, if it has lost some. */
  readonly channels: SaidOfLayer['channels'];
  readonly weights: number | undefined;
  readonly zeros: number | undefined;
  /** How many weights it had. */
  readonly weightsBefore: number | undefined;
  /** The bytes of its weights in the files. */
  readonly bytesBefore: number | undefined;
  readonly bytes: number | undefined;
  /** The relative error that removing and rounding leave, as if they were independent. */
  readonly error: number | undefined;
}

/** All layers, in model order: those of the models, or else those that the reports name. */
export async function layersOf(parts: readonly Part[], { before, after }: PageModels): Promise<PageLayer[]> {
  const said = new Map<string, SaidOfLayer>();
  for (const layer of parts.flatMap(({ layers }) => layers)) {
    const known = Object.entries(layer).filter(([, value]) => value !== undefined);
    said.set(layer.name, { ...said.get(layer.name), ...(Object.fromEntries(known) as unknown as SaidOfLayer) });
  }
  const [old, now] = [before, after].map((model) => new Map(model?.tensors.map((each) => [each.name, each.values])));
  const held = after ? (await inspect(after)).layers : (before?.tensors ?? []).map(named);
  const all = held.length > 0 ? held : [...said.values()];
  return all.map((layer) => {
    const told = said.get(layer.name);
    // Reports may be older than the model: channels may have gone since.
    const { name, form, channels, removing, rounding, weights, zeros } = after
      ? { ...told, ...layer }
      : { ...layer, ...told };
    const [was, is] = [old!.get(name), now!.get(name)];
    const hasError = removing !== undefined || rounding !== undefined;
    return {
      ...{ name, kind: layer.kind, shape: layer.shape, form, channels, zeros },
      weights: weights ?? is?.length,
      weightsBefore: was?.length,
      bytesBefore: was && storedBytes(was),
      bytes: is && storedBytes(is),
      error: hasError ? Math.hypot(removing ?? 0, rounding ?? 0) : undefined,
    };
  });
}

const named = ({ name, kind, shape, values }: Model['tensors'][number]): SaidOfLayer => ({
  ...{ name, kind, shape, weights: values.length },
});

const storedBytes = (values: Values): number =>
  values instanceof StoredValues ? values.bytes : values.length * bytesOf[values.dtype];

/** How large a layer is on the map: its bytes now, or else before, or else its weights. */
export const areaOf = ({ bytes, bytesBefore, weights }: PageLayer): number => bytes ?? bytesBefore ?? weights ?? 0;

/** Whether the channels of some layers are gone. */
export const haveGone = (layers: readonly PageLayer[]): boolean =>
  layers.some(({ weights, weightsBefore = weights }) => weights !== weightsBefore);

/** The share of its weights that are 0 or gone, in percent. */
export function removedShare({ weights, weightsBefore = weights, zeros }: PageLayer): number | undefined {
  if (weights === undefined || weightsBefore === undefined || (zeros === undefined && weights === weightsBefore))
    return undefined;
  return percentOf(weightsBefore - weights + (zeros ?? 0), weightsBefore);
}
