import { SparsifyError } from '../errors.js';
import { incomingIn, withOutputs } from '../formats/onnx/incoming.js';
import type { FileModel } from '../formats/file-model.js';
import { isObject } from '../model/json.js';
import { checkModel } from '../model/model.js';
import { float16 } from '../model/numbers.js';
import { Norms, type Batches, type Calibration } from './norms.js';

/** What is used of a tensor of `onnxruntime`. */
export interface OnnxTensorLike {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

/** What is used of an `onnxruntime` session. */
export interface SessionLike<Feeds> {
  run(feeds: Feeds): Promise<Readonly<Record<string, OnnxTensorLike>>>;
  release?(): Promise<void>;
}

/**
 * The norms of the inputs of each layer of an ONNX model: `sqrt(sum of squares)` of each input channel over all
 * positions and batches (Wanda, Sun et al. 2023).
 * @param batches the inputs of the model, as `session.run` takes them
 * @param createSession makes a session of a model's bytes: `(bytes) => InferenceSession.create(bytes)`. The model has
 *   further outputs, and the names of its external data are those of the model. The session is released afterwards.
 * @throws SparsifyError `criteria` if there is no batch or an activation is not finite; what the session throws
 */
export async function activationsOfOnnx<Feeds>(
  model: FileModel,
  batches: Batches<Feeds>,
  createSession: (bytes: Uint8Array<ArrayBuffer>) => Promise<SessionLike<Feeds>>,
): Promise<Calibration> {
  checkModel(model);
  if (model.format !== 'ONNX') {
    throw new SparsifyError('usage', 'activationsOfOnnx takes an ONNX model', { found: `${model.format} model` });
  }
  const bytes = await model.bytes();
  const file = { name: 'model.onnx', bytes };
  const incoming = incomingIn(file);
  const norms = new Norms(model, (name) => (incoming.get(name)?.length ? undefined : 'its input is not an activation'));
  const session = await createSession(
    withOutputs(
      file,
      norms.names.flatMap((name) => incoming.get(name)!.map(({ value }) => value)),
    ),
  );
  try {
    for await (const batch of batches) {
      const outputs = await session.run(batch);
      norms.count();
      for (const name of norms.names) {
        for (const { value, geometry } of incoming.get(name)!) {
          // An input of the model is no output of it.
          const tensor = outputs[value] ?? inputOf(batch, value, name);
          norms.add(name, tensor.dims, floatsOf(tensor, name), geometry.channelAxis);
        }
      }
    }
  } finally {
    await session.release?.();
  }
  return norms.result();
}

/** The numbers of a tensor; half precision comes as bits where JavaScript has no array for it. */
function floatsOf({ type, data }: OnnxTensorLike, subject: string): ArrayLike<number> {
  if (type === 'float32') return data as Float32Array;
  if (type === 'float16')
    return data instanceof Uint16Array ? Float32Array.from(data, float16) : (data as Float32Array);
  throw new SparsifyError('criteria', 'activations must be float32 or float16', { subject, found: type });
}

function inputOf(batch: unknown, value: string, subject: string): OnnxTensorLike {
  const found = isObject(batch) ? batch[value] : undefined;
  if (isObject(found) && Array.isArray(found.dims)) return found as never;
  throw new SparsifyError('criteria', 'the session does not return the input of the layer', { subject, given: value });
}
