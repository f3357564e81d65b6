/** Bytes that are the same everywhere, of every kind that files of models have. */
export const contents: Readonly<Record<string, (length: number) => Uint8Array<ArrayBuffer>>> = {
  nothing: () => new Uint8Array(0),
  zeros: (length) => new Uint8Array(length),
  'random bytes': (length) => from(length, (next) => next() >>> 24),
  'few symbols': (length) => from(length, (next) => 2 ** ((next() >>> 24) % 8)),
  'a short period': (length) => from(length, (_, index) => index % 7),
  /** Numbers near 0, of which most bits of the exponents are alike. */
  floats: (length) => floats(length, () => false),
  'floats with half of them zero': (length) => floats(length, (next) => next() >>> 31 === 1),
  'floats with nine of ten zero': (length) => floats(length, (next) => next() % 10 !== 0),
  text: (length) => {
    const words = ['weight', 'bias', 'layer', '0.25', '{"name":', '},', '\n', 'conv2d/kernel'];
    let text = '';
    const next = numbers(3);
    while (text.length < length) text += words[next() % words.length]! + (next() % 100);
    return new TextEncoder().encode(text).slice(0, length);
  },
  /** Parts that compress well beside others that do not: blocks end early, and some are stored. */
  'all of them': (length) => {
    const bytes = new Uint8Array(length);
    const kinds = ['random bytes', 'zeros', 'text', 'floats', 'few symbols', 'a short period'];
    const part = Math.ceil(length / kinds.length);
    for (const [place, kind] of kinds.entries()) {
      const rest = Math.min(part, length - place * part);
      if (rest > 0) bytes.set(contents[kind]!(rest), place * part);
    }
    return bytes;
  },
};

/** Whole numbers of 32 bits. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // The low bits of such numbers have a short period.
    return (state ^ (state >>> 15)) >>> 0;
  };
}

function from(length: number, byteOf: (next: () => number, index: number) => number): Uint8Array<ArrayBuffer> {
  const next = numbers(1);
  return Uint8Array.from({ length }, (_, index) => byteOf(next, index));
}

function floats(length: number, isZero: (next: () => number) => boolean): Uint8Array<ArrayBuffer> {
  const next = numbers(2);
  const values = Float32Array.from({ length: Math.ceil(length / 4) }, () =>
    isZero(next) ? 0 : Math.fround((next() % 65536) / 65536 - 0.5) * Math.fround((next() % 4096) / 4096),
  );
  return new Uint8Array(values.buffer).slice(0, length);
}
