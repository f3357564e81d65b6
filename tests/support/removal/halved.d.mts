/**
 * A model with zeros in all weights of the second half of the channels of each group.
 * @param shapes of the inputs, by name
 */
export function halved(
  bytes: Uint8Array<ArrayBuffer>,
  shapes: Readonly<Record<string, readonly number[]>>,
): Uint8Array<ArrayBuffer>;
