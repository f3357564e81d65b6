import * as host from '#host';
import { load } from '../../engine/engine.js';
import type { Source } from '../../host/host.js';
import { checkNotEmpty, openFurther, pathsOf, readBlock, slices, type GiveFile, type ModelSource } from '../sources.js';
import { OnnxModel } from './model.js';
import type { OpenModel } from '../../streaming/model.js';
import { checkExternal, modelFile, outputsOf, parse, stored } from './outputs.js';

/** Opens an ONNX model: the model file is read as a whole, its external data are not read yet. */
export async function openOnnx(
  source: ModelSource,
  { external }: { readonly external?: GiveFile | undefined },
): Promise<OpenModel> {
  const engine = await load();
  const opened: Source[] = [];
  let model: OnnxModel | undefined;
  const close = async () => {
    model?.close();
    for (const each of opened) await each.close();
  };
  try {
    const first = await host.open(source);
    opened.push(first);
    const name = first.name ?? 'model.onnx';
    const file = await readBlock(engine, first, name);
    model = new OnnxModel({ tensors: [], skipped: [], file, data: new Map(), name, sourceFiles: pathsOf([first]) });
    const { tensors, skipped, locations } = parse(await modelFile(file, name));
    const files = new Map<string, Source>();
    for (const location of locations) {
      const data = await openFurther(first, location, external, 'external');
      opened.push(data);
      checkNotEmpty(data, location);
      files.set(location, data);
    }
    for (const tensor of tensors) checkExternal(tensor, (location) => files.get(location)!.size);
    return {
      tensors,
      skipped,
      sourceFiles: pathsOf(opened),
      files,
      place: (values) => {
        const { location, range } = stored(values);
        return location === undefined ? undefined : { file: location, start: range.start };
      },
      whole: model,
      outputs: async (path, chunks) => {
        if (path !== undefined) return outputsOf(path, name, file, files.keys(), chunks);
        const data = Array.from(files.keys(), (location) => ({ path: location, chunks: () => chunks(location) }));
        return [{ path: name, chunks: () => slices(file) }, ...data];
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
