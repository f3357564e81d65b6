import { attempt, SparsifyError } from '../errors.js';
import { inSlices } from './slices.js';

/** The number of bytes that are copied and written to a stream at a time. */
const sliceBytes = 2 ** 24;

/** @throws SparsifyError `usage` for what is no stream, `file` where the stream is locked */
export function checkStream(stream: WritableStream<Uint8Array<ArrayBuffer>>): void {
  const isStream = attempt('the stream', () => typeof stream?.getWriter === 'function');
  if (!isStream) {
    throw new SparsifyError('usage', 'a file is written to a WritableStream', { given: typeof stream });
  }
  if (!stream.locked) return;
  throw new SparsifyError('file', 'the stream is locked', {
    hint: 'Release its writer, or pass a stream that nothing else writes to',
  });
}

/** @throws SparsifyError as {@link checkStream} for what is neither a path nor a stream */
export function checkTarget(target: string | WritableStream<Uint8Array<ArrayBuffer>>): void {
  if (typeof target !== 'string') checkStream(target);
}

/**
 * Writes all chunks to a stream and closes it. Each slice waits until the stream has accepted the previous one. The
 * stream receives copies, because it may transfer them, and because many streams refuse views of shared memory.
 * @throws SparsifyError `file` if the stream is locked or fails. An error thrown by the chunks is not wrapped. A stream
 *   that is not locked is aborted with the error.
 */
export async function writeStream(
  stream: WritableStream<Uint8Array<ArrayBuffer>>,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  checkStream(stream);
  const writer = stream.getWriter();
  let isWriting = false;
  try {
    for await (const chunk of chunks) {
      isWriting = true;
      const write = (from: number, to: number) => writer.write(new Uint8Array(chunk.subarray(from, to)));
      await inSlices(chunk.length, write, sliceBytes);
      isWriting = false;
    }
    isWriting = true;
    await writer.close();
  } catch (cause) {
    const error = cause instanceof SparsifyError || !isWriting ? cause : failed(cause);
    // If the stream itself failed, aborting it rejects with the same failure.
    await writer.abort(error).catch(() => {});
    throw error;
  } finally {
    writer.releaseLock();
  }
}

const failed = (cause: unknown): SparsifyError =>
  new SparsifyError(
    'file',
    'the stream could not be written',
    { found: cause instanceof Error ? cause.message : String(cause) },
    { cause },
  );
