import { SparsifyError } from '../errors.js';
import { inSlices } from './slices.js';

/** How many bytes are copied and given to a stream at a time. */
const sliceBytes = 2 ** 24;

/** @throws SparsifyError `usage` for what is no stream, `file` where the stream is locked */
export function checkStream(stream: WritableStream<Uint8Array<ArrayBuffer>>): void {
  if (typeof stream?.getWriter !== 'function') {
    throw new SparsifyError('usage', 'a file is written to a WritableStream', { given: typeof stream });
  }
  if (!stream.locked) return;
  throw new SparsifyError('file', 'the stream is locked', {
    hint: 'Release its writer, or give a stream that nothing else writes to',
  });
}

/**
 * Writes all chunks to a stream and closes it; each slice waits until the stream has taken the one before. The stream
 * gets copies: it may transfer what it is given, and many refuse views of shared memory.
 * @throws SparsifyError `file` if the stream is locked, or fails; an error of the chunks as it is. Then the stream is
 * aborted with the error that is thrown.
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
    // A stream that failed by itself answers with that failure again.
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
