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
  let found: number | undefined;
  const look = (from: number, to: number) => {
    for (let index = from; found === undefined && index < to; index++) {
      const number = before[index]!;
      const isOff = Math.abs(number - values[index]!) > mostOff * Math.abs(number);
      if (isOff && Math.abs(number) >= leastNormal) found = index;
    }
  };
  await inSlices(before.length, look, stepsAtATime);
  if (found === undefined) return numbers;
  const [number, value] = [before[found]!, values[found]!].map((each) => Number(each.toPrecision(3)));
  return `it has the number ${number}, which ${form} rounds to ${value}`;
}

/** Why numbers have no such form: one of them would be infinite. */
export async function tooLarge(form: OtherForm, numbers: Float32Array): Promise<string | undefined> {
  const most = largest[form];
  let found: number | undefined;
  const look = (from: number, to: number) => {
    for (let index = from; found === undefined && index < to; index++) {
      const number = numbers[index]!;
      if (Math.abs(number) > most && Number.isFinite(number)) found = number;
    }
  };
  await inSlices(numbers.length, look, stepsAtATime);
  return found === undefined ? undefined : `it has the number ${found}, and ${form} ends at ${most}`;
}

const largest: Readonly<Record<OtherForm, number>> = { float16: 65504, bfloat16: 2 ** 128 - 2 ** 120 };
