/**
 * A model with zeros in all weights of the last channels of each group.
 * @param shapes of the inputs, by name
 * @param roundTo how many others there are: the multiple of this that is nearest to half of them, and the lower one of two
 */
export function halved(
  bytes: Uint8Array<ArrayBuffer>,
  shapes: Readonly<Record<string, readonly number[]>>,
  roundTo?: number,
): Uint8Array<ArrayBuffer>;
