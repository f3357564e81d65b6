// Counts the bytes of the arrays that code asks for.

const names = ['Uint8Array', 'Uint16Array', 'Uint32Array', 'Int32Array', 'Float32Array', 'Float64Array'] as const;

/**
 * Runs a call with arrays that are counted.
 * @returns the bytes of all of them
 */
export async function countingAllocations(call: () => Promise<void>): Promise<number> {
  let bytes = 0;
  const originals = names.map((name) => globalThis[name]);
  names.forEach((name, place) => {
    const original = originals[place] as Uint8ArrayConstructor;
    const counted: typeof original = new Proxy(original, {
      construct: (target, parameters: unknown[], made) => {
        const array = Reflect.construct(target, parameters, made === counted ? target : made) as Uint8Array;
        // Others are views.
        if (!(parameters[0] instanceof ArrayBuffer || parameters[0] instanceof SharedArrayBuffer))
          bytes += array.byteLength;
        return array;
      },
    });
    (globalThis as Record<string, unknown>)[name] = counted;
  });
  try {
    await call();
  } finally {
    names.forEach((name, place) => {
      (globalThis as Record<string, unknown>)[name] = originals[place];
    });
  }
  return bytes;
}
