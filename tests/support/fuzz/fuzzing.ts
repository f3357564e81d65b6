// Changes inputs at random, keeps those that reach new code, and reports what is not as it has to be. Node only.
import { createHash } from 'node:crypto';
import { drawing, type Draw } from '../mutations.js';
import { countingAllocations } from './allocations.js';
import type { Coverage, Covered } from './coverage.js';
import { sizeOf, written, type Input } from './input.js';
import { mutated } from './mutated.js';
import { hold, type Target } from './target.js';

export interface Finding {
  readonly input: Input;
  readonly error: Error;
}

export interface Fuzzed {
  readonly runs: number;
  /** How many inputs could be read. */
  readonly read: number;
  /** How many reached code that none before them reached. */
  readonly kept: number;
  readonly findings: readonly Finding[];
  readonly covered: Covered;
  /** The most steps, and bytes of arrays, for each byte of an input and a thousand more. */
  readonly most: { readonly steps: number; readonly bytes: number };
}

export interface FuzzOptions {
  readonly seed: number;
  /** Whether inputs that reach new code are changed further. What that is, V8 does not say alike each time. */
  readonly isGuided: boolean;
  /** Whether there is to be another run. */
  readonly goesOn: (runs: number) => boolean;
  /** Called before each run. If it never ends, this is the input with which it does not. */
  readonly before?: (input: Input) => void;
  readonly found?: (finding: Finding) => void;
  /** How long the processor may take for one input, on machines that are known. */
  readonly mostSeconds?: number;
}

/** Larger inputs are not changed further. */
const mostBytes = 10_000;

/**
 * What a run may take for each byte of its input and a thousand more: generous, but nothing that grows with a number in
 * the file, or with the square of its length.
 */
const most = { steps: 4_000, bytes: 4_000 };

export async function fuzz(
  target: Target,
  seeds: readonly Input[],
  coverage: Coverage,
  { seed, isGuided, goesOn, before, found, mostSeconds = Infinity }: FuzzOptions,
): Promise<Fuzzed> {
  const draw = drawing(seed);
  const pool: Input[] = [];
  const findings = new Map<string, Finding>();
  const sum = { runs: 0, read: 0, kept: 0, most: { steps: 0, bytes: 0 } };
  for (; goesOn(sum.runs); sum.runs++) {
    const input = sum.runs < seeds.length ? seeds[sum.runs]! : offspring(pool, seeds, draw);
    before?.(input);
    const { isRead, error, bytes, seconds } = await outcomeOf(target, input);
    const { isNew, steps } = coverage.take();
    const size = sizeOf(input) + 1000;
    // The first runs load modules.
    if (sum.runs >= seeds.length) {
      sum.most.steps = Math.max(sum.most.steps, steps / size);
      sum.most.bytes = Math.max(sum.most.bytes, bytes / size);
    }
    if (isRead) sum.read++;
    if (sum.runs < seeds.length) {
      if (isRead) pool.push(input);
    } else if (isGuided && isNew && sizeOf(input) <= mostBytes) {
      sum.kept++;
      pool.push(input);
    }
    const wrong =
      error ?? excess(steps, bytes, size) ?? (seconds > mostSeconds ? new Error(`${seconds} s`) : undefined);
    if (wrong === undefined || findings.has(placeOf(wrong))) continue;
    const finding = { input, error: wrong };
    findings.set(placeOf(wrong), finding);
    found?.(finding);
  }
  return { ...sum, findings: [...findings.values()], covered: coverage.of(target.files) };
}

/**
 * One of the inputs with a change or two, rather of the later ones, which reach what few others do.
 * @param donors inputs of which parts may be taken
 */
function offspring(pool: readonly Input[], donors: readonly Input[], draw: Draw): Input {
  let input = pool[Math.max(draw(pool.length), draw(pool.length))]!;
  for (let left = 1 + (draw(4) === 0 ? 1 : 0); left > 0; left--) {
    const all = draw(2) === 0 ? pool : donors;
    input = mutated(input, all[draw(all.length)]!, draw);
  }
  return input;
}

interface Outcome {
  readonly isRead: boolean;
  readonly error: Error | undefined;
  /** Of the arrays that were asked for. */
  readonly bytes: number;
  /** Of the processor, in all threads. */
  readonly seconds: number;
}

async function outcomeOf(target: Target, input: Input): Promise<Outcome> {
  let isRead = false;
  let error: Error | undefined;
  const reject = (reason: unknown) => {
    error ??= new Error(`a promise was rejected that nobody awaits: ${String(reason)}`, { cause: reason });
  };
  process.on('unhandledRejection', reject);
  const begun = process.cpuUsage();
  const bytes = await countingAllocations(async () => {
    try {
      isRead = await target.check(input);
    } catch (thrown) {
      error = thrown instanceof Error ? thrown : new Error(String(thrown));
    }
    // Rejections are reported after the microtasks.
    await new Promise((resolve) => setImmediate(resolve));
  });
  const { user, system } = process.cpuUsage(begun);
  process.off('unhandledRejection', reject);
  return { isRead, error, bytes, seconds: (user + system) / 1e6 };
}

function excess(steps: number, bytes: number, size: number): Error | undefined {
  try {
    hold(steps <= most.steps * size, `${steps} steps for ${size} bytes`);
    hold(bytes <= most.bytes * size, `arrays of ${bytes} bytes for ${size} bytes`);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** What tells one kind of error from another: where in the package it was thrown, or what it says. */
function placeOf({ message, stack = '' }: Error): string {
  return /\/sparsifier\/dist\/\S+/.exec(stack)?.[0] ?? message.replace(/\d+/g, 'n').slice(0, 80);
}

/** A name for the file of a finding. */
export const nameOf = (input: Input): string => createHash('sha256').update(written(input)).digest('hex').slice(0, 12);
