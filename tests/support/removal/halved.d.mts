/**
 * A model of which about half of the channels of each group are removed, chosen at random.
 * @param inputShapes of the inputs, by name
 * @param roundTo how many others there are: the multiple of this that is nearest to half of them, and the lower one of two
 */
export function halved(
  bytes: Uint8Array<ArrayBuffer>,
  inputShapes: Readonly<Record<string, readonly number[]>>,
  roundTo?: number,
): Promise<Uint8Array<ArrayBuffer>>;
