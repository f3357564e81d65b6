import type { Anatomy } from '../../formats/anatomy.js';
import { anatomyOf, type FileModel } from '../../formats/file-model.js';
import { inspect } from '../../pruning/inspect.js';
import { adviceFor, type Advice } from './advice.js';
import { facts, type Effect, type Examined } from './facts.js';
import { removableFrom } from './removable.js';
import { runtimes, type RuntimeName } from './runtimes.js';

/** A fact about a model in a runtime: what of the model, and what follows. */
export interface Applied {
  readonly id: string;
  readonly about: string;
  readonly effect: Effect;
  readonly concerns: string;
  readonly sentence: string;
  readonly source: string;
  /** The version of the runtime that the fact was found with. */
  readonly version: string;
  readonly date: string;
}

/** How a model suits a runtime. */
export interface Diagnosis {
  readonly runtime: RuntimeName;
  readonly title: string;
  readonly version: string;
  /** Whether the runtime loads it. */
  readonly loads: 'yes' | 'no' | 'with' | 'unknown';
  /** Why the format of the model is not one that the runtime loads. */
  readonly otherFormat?: string;
  /** Whether its download is smaller than the same model with float32 weights that are not zero. */
  readonly smaller: 'yes' | 'no';
  /** Whether it runs faster than that model. */
  readonly faster: 'yes' | 'no' | 'slower' | 'partly';
  readonly facts: readonly Applied[];
  /** The next command that helps, if there is one. */
  readonly next?: Advice;
}

/** How a model suits all of these runtimes. */
export interface DoctorReport {
  readonly format: string;
  readonly versions?: { readonly ir: number; readonly opset: number };
  /** The weights of layers, and those of them that are zero. */
  readonly weights: number;
  readonly zeros: number;
  /** How many bytes are stored in each type, the most first. */
  readonly types: Readonly<Record<string, number>>;
  readonly operators: Readonly<Record<string, number>>;
  readonly runtimes: readonly Diagnosis[];
}

/**
 * Says for each runtime whether a model loads there, and whether it is smaller and faster than a dense one of float32.
 * It is not run.
 * @param file the path of the model, for the commands that are suggested
 */
export async function diagnose(model: FileModel, file: string, names: readonly RuntimeName[]): Promise<DoctorReport> {
  const { weights, zeros } = (await inspect(model)).total;
  const anatomy = anatomyOf(model) ?? onlyWeights;
  // Channels without weights are dead, and few others.
  const removable = zeros === 0 ? undefined : await removableFrom(model);
  const examined: Examined = { anatomy, weights, zeros, removable };
  const types = new Map<string, number>();
  for (const { type, bytes } of anatomy.constants) types.set(type, (types.get(type) ?? 0) + bytes);
  return {
    format: model.format,
    ...(anatomy.versions && { versions: anatomy.versions }),
    weights,
    zeros,
    types: Object.fromEntries([...types].sort(([, a], [, b]) => b - a)),
    operators: Object.fromEntries(anatomy.operators),
    runtimes: names.map((name) => diagnosisOf(name, model.format, { ...examined, file })),
  };
}

const onlyWeights: Anatomy = { operators: new Map(), nodes: undefined, constants: [], external: [] };

function diagnosisOf(runtime: RuntimeName, format: string, model: Examined & { readonly file: string }): Diagnosis {
  const { title, version, format: own } = runtimes[runtime];
  const about = { runtime, title, version };
  if (format !== own) {
    const otherFormat = `it runs ${own} models; this one is ${format}, and models are not converted to other formats`;
    return { ...about, loads: 'no', otherFormat, smaller: 'no', faster: 'no', facts: [] };
  }
  const applied = facts.flatMap(({ runtimes, concerns, ...fact }): Applied[] => {
    const what = runtimes.includes(runtime) ? concerns(model) : undefined;
    return what === undefined ? [] : [{ ...fact, concerns: what, version }];
  });
  const answers = (on: Effect['on']) => applied.flatMap(({ effect }) => (effect.on === on ? [effect.answer] : []));
  const next = adviceFor(runtime, { ...model, facts: new Set(applied.map(({ id }) => id)) });
  return {
    ...about,
    loads: (['no', 'unknown', 'with'] as const).find((answer) => answers('loads').includes(answer)) ?? 'yes',
    smaller: answers('smaller').includes('yes') ? 'yes' : 'no',
    faster: speedOf(answers('faster')),
    facts: applied,
    ...(next && { next }),
  };
}

function speedOf(answers: readonly string[]): Diagnosis['faster'] {
  const [isFaster, isSlower] = [answers.includes('yes'), answers.includes('slower')];
  if (isFaster && isSlower) return 'partly';
  if (isFaster) return 'yes';
  return isSlower ? 'slower' : 'no';
}
