import fc from 'fast-check';
import { storageOf, type Form, type NewNumbers } from './internal.js';
import type { FileModel } from 'sparsifier/formats';

/** The number that these 16 bits stand for, by the definition of the formats. */
export function naive16(bits: number, form: 'float16' | 'bfloat16'): number {
  const [exponentBits, fractionBits] = form === 'float16' ? [5, 10] : [8, 7];
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> fractionBits;
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

/** The numbers that codes, or numbers of 16 bits, stand for. */
export function naiveNumbers(given: NewNumbers): Float32Array {
  if (given.form === 'float16' || given.form === 'bfloat16') {
    const { form } = given;
    return Float32Array.from(new Uint16Array(given.numbers.slice().buffer), (bits) => naive16(bits, form));
  }
  if (!('min' in given)) throw new Error(`no such form: ${given.form}`);
  return Float32Array.from(given.codes, (code) => code * given.scale + given.min);
}

/** `length` numbers in a form, any at all: also infinities, NaN and -0 where the form has them. */
function anyNumbers(form: Form, length: number): fc.Arbitrary<NewNumbers> {
  if (form === 'float16' || form === 'bfloat16') {
    return fc
      .uint16Array({ minLength: length, maxLength: length })
      .map((bits) => ({ form, numbers: new Uint8Array(Uint16Array.from(bits).buffer) }));
  }
  if (form !== 'uint8' && form !== 'uint16') throw new Error(`no such form: ${form}`);
  const size = { minLength: length, maxLength: length };
  const codes = form === 'uint8' ? fc.uint8Array(size) : fc.uint16Array(size);
  return fc
    .record({
      codes,
      zero: fc.nat(form === 'uint8' ? 255 : 65_535),
      scale: fc.double({ min: 1e-30, max: 1e30, noNaN: true }),
    })
    .map(({ codes, zero, scale }) => ({ form, codes: codes.slice(), scale, min: 0 - zero * scale }) as NewNumbers);
}

/** Numbers in a form, near the given ones: of 16-bit floats the nearest one that is not larger. */
export function nearby(numbers: Float32Array, form: 'uint8' | 'uint16' | 'float16'): NewNumbers {
  if (form === 'float16') {
    const below = (number: number) => {
      let [low, high] = [0, 0x7c00];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (naive16(middle, form) <= Math.abs(number)) low = middle;
        else high = middle;
      }
      return low | (number < 0 ? 0x8000 : 0);
    };
    return { form, numbers: new Uint8Array(Uint16Array.from(numbers, below).buffer) };
  }
  const highest = form === 'uint8' ? 255 : 65_535;
  const [low, high] = numbers.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [0, 0]);
  const scale = (high - low) / (highest - 1) || 1;
  const min = 0 - Math.round(-low / scale) * scale;
  const codes = numbers.map((number) => Math.round((number - min) / scale));
  return { form, codes: form === 'uint8' ? Uint8Array.from(codes) : Uint16Array.from(codes), scale, min };
}

/** The forms that the caller asks for, of the layers and other numbers of a model. */
export interface Wanted {
  readonly layers: ReadonlyMap<string, NewNumbers>;
  readonly others: ReadonlyMap<string, NewNumbers>;
}

/** The files of a model with its numbers in other forms. */
export function rewritten(model: FileModel, { layers, others }: Wanted): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const { storage, current } = storageOf(model);
  return storage.rewritten(layers, others, current);
}

/** Numbers in other forms for some of those of a model that can have them. */
export function anyWanted(model: FileModel): fc.Arbitrary<Wanted> {
  const { storage } = storageOf(model);
  const layers = model.tensors.filter((tensor) => storage.obstacle(tensor, storage.forms[0]!) === undefined);
  const some = (named: readonly { readonly name: string; readonly length: number }[]) =>
    fc
      .tuple(
        ...named.map(({ name, length }) =>
          fc.option(
            fc
              .constantFrom(...storage.forms)
              .chain((form) => anyNumbers(form, length))
              .map((numbers) => [name, numbers] as const),
          ),
        ),
      )
      .map((chosen) => new Map(chosen.filter((each) => each !== null)));
  return fc.record({
    layers: some(layers.map(({ name, values }) => ({ name, length: values.length }))),
    others: some(storage.others().map(({ name, values }) => ({ name, length: values.length }))),
  });
}
