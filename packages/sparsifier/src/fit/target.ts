import { SparsifyError } from '../errors.js';
import type { ByteCounts } from '../formats/sizes.js';
import type { Compression } from '../host/compressor.js';
import { typeOf } from '../model/model.js';
import { sumOf } from '../model/numbers.js';
import type { Check } from '../options/check.js';

export const encodings = ['br', 'gzip', 'raw'] as const;
/** How the files are counted: as `brotli -q 11` or `gzip -9` compresses them, each by itself, or as they are. */
export type Encoding = (typeof encodings)[number];

/** A number of bytes: `3000000`, or as text `'3MB'`, `'512 kB'`, `'900B'`. A kB is 1,000 bytes and an MB 1,000,000. */
export type ByteSize = number | string;

const units: Readonly<Record<string, number>> = { B: 1, kB: 1000, MB: 1_000_000, GB: 1_000_000_000 };

/** A number of bytes, rounded down to a whole one. */
export const bytesOfSize: Check<number> = (value, name) => {
  const [, number, unit = 'B'] = (typeof value === 'string' && /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(value)) || [];
  const factor = units[unit] ?? (unit === '' ? 1 : undefined);
  const bytes = typeof value === 'number' ? value : number === undefined ? NaN : Number(number) * (factor ?? NaN);
  // Rounded first, since 2.3 * 1e6 is slightly below 2300000.
  const whole = Math.floor(Number(bytes.toPrecision(12)));
  if (whole >= 1 && Number.isSafeInteger(whole)) return whole;
  const meant = Object.keys(units).find((each) => each.toLowerCase() === unit.toLowerCase());
  const isUnit = number !== undefined && factor === undefined && meant !== undefined;
  throw new SparsifyError('usage', `${name} is a size of at least one byte`, {
    given: value,
    found: typeOf(value),
    allowed: ["a number of bytes, or a number with a unit: 'B', 'kB' (1,000 bytes), 'MB' (1,000,000), 'GB'"],
    ...(isUnit ? { hint: `Write it as ${number}${meant}` } : { hint: 'Such as 3MB' }),
  });
};

/** How files are compressed, and how they are compressed to estimate that in less time; none for the files themselves. */
export const compressions: Readonly<
  Record<Encoding, { readonly exact: Compression; readonly fast: Compression } | undefined>
> = {
  br: { exact: 'brotli-11', fast: 'brotli-5' },
  gzip: { exact: 'gzip-9', fast: 'gzip-9' },
  raw: undefined,
};

/** What a report calls these bytes. */
export const countOf: Readonly<Record<Encoding, keyof ByteCounts>> = { br: 'brotli', gzip: 'gzip', raw: 'raw' };
export const encodingInWords: Readonly<Record<Encoding, string>> = {
  br: 'after brotli -q 11',
  gzip: 'after gzip -9',
  raw: 'uncompressed',
};

/** How many bytes files have together. */
export const rawBytes = (files: ReadonlyMap<string, Uint8Array>): number =>
  sumOf([...files.values()].map(({ length }) => length));
