import { decoded } from '../formats/decoded.js';
import { fixedTable } from '../formats/fixed.js';
import type { CurrentFiles, OtherNumbers, Storage } from '../formats/format.js';
import { inSlices, stepsAtATime } from '../host/slices.js';
import type { NewNumbers } from '../model/forms.js';
import { leastNormal } from '../model/numbers.js';
import { floats } from './codes.js';
import type { OtherForm } from './options.js';
import type { OtherTensor } from './report.js';

/** The numbers that are not those of layers with 16 bits each, as far as they can have that form. */
export async function othersIn(
  form: OtherForm,
  storage: Storage,
  current: CurrentFiles,
  signal: AbortSignal | undefined,
): Promise<{ readonly others: readonly OtherTensor[]; readonly numbers: ReadonlyMap<string, NewNumbers> }> {
  const others: OtherTensor[] = [];
  const numbers = new Map<string, NewNumbers>();
  for (const other of storage.others()) {
    signal?.throwIfAborted();
    const { name, values } = other;
    const found = await numbersIn(form, other, current);
    others.push({ name, length: values.length, ...(typeof found === 'string' ? { reason: found } : { form }) });
    if (typeof found !== 'string') numbers.set(name, found);
  }
  return { others, numbers };
}

/** The numbers in a form, or why they cannot have it. */
async function numbersIn(
  form: OtherForm,
  { values, shape }: OtherNumbers,
  current: CurrentFiles,
): Promise<NewNumbers | string> {
  const numbers = await decoded(values, current);
  return fixedTable(numbers, shape) ?? (await tooLarge(form, numbers)) ?? (await roundedIn(form, numbers));
}

/** How far a number may be from what it becomes, in proportion. Normal numbers of 16 bits are nearer. */
const mostOff = 0.01;

/**
 * The numbers in a form, or why they stay: one of them would lose more than 1 %. What divides by a number, such as a
 * variance, depends on the smallest ones.
 */
async function roundedIn(form: OtherForm, before: Float32Array): Promise<NewNumbers | string> {
  const { numbers, values } = await floats(form, before);
  const found = await firstIn(before.length, (index) => {
    const number = before[index]!;
    const isOff = Math.abs(number - values[index]!) > mostOff * Math.abs(number);
    return isOff && Math.abs(number) >= leastNormal;
  });
  if (found === undefined) return numbers;
  const [number, value] = [before[found]!, values[found]!].map((each) => Number(each.toPrecision(3)));
  return `it has the number ${number}, which ${form} rounds to ${value}`;
}

/** The index of the first of so many numbers that is looked for; undefined if there is none. */
async function firstIn(length: number, isFound: (index: number) => boolean): Promise<number | undefined> {
  let found: number | undefined;
  const look = (from: number, to: number) => {
    for (let index = from; found === undefined && index < to; index++) if (isFound(index)) found = index;
  };
  await inSlices(length, look, stepsAtATime);
  return found;
}

/** Why numbers have no such form: one of them would be infinite. */
export async function tooLarge(form: OtherForm, numbers: Float32Array): Promise<string | undefined> {
  const most = largest[form];
  const found = await firstIn(numbers.length, (index) => {
    const number = numbers[index]!;
    return Math.abs(number) > most && Number.isFinite(number);
  });
  return found === undefined ? undefined : `it has the number ${numbers[found]}, and ${form} ends at ${most}`;
}

const largest: Readonly<Record<OtherForm, number>> = { float16: 65504, bfloat16: 2 ** 128 - 2 ** 120 };
