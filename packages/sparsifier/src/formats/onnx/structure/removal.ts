import { SparsifyError } from '../../../errors.js';
import type { Source } from '../../../host/host.js';
import { sumOf } from '../../../model/numbers.js';
import { matcherOf, nearestGlobs } from '../../../options/names.js';
import { asked } from '../../../options/spelling.js';
import type { CurrentFiles, ModelOutput } from '../../format.js';
import { openGroups } from '../../../structure/groups.js';
import type { ChannelRemoval, ChannelsRequest, InputShapes, PlannedRemoval } from '../../removal.js';
import { editedSource } from '../edits.js';
import { readGraph, type Constant, type Graph, type Value } from '../graph.js';
import { title } from '../titles.js';
import { findWeights } from '../layers.js';
import { versionsIn } from '../versions.js';
import type { ModelFile } from '../wire.js';
import { isParameter } from './cutting.js';
import { blockedIn, channelsOfWeights, groupsIn, touchableIn, type NameOf } from './facts.js';
import { unknownInput, type Failure } from './follow.js';
import { probesOf, sizesMissing, type Probes } from './probes.js';
import { numbersIn } from './reading.js';
import { channelsIn, planOnnxRemoval, type OnnxRemoval } from './remove.js';
import { Rewriting } from './rewrite.js';
import { Misfit } from './site.js';

/** The opset up to which the rules were compared with the operators. */
const lastOpset = 24;

/**
 * How channels are taken out of an ONNX model.
 * @param fileOf the model file as it is now
 * @param outputs all files that the model is written to
 */
export const removalIn = (
  fileOf: (current: CurrentFiles) => Promise<ModelFile>,
  outputs: (current: CurrentFiles) => Promise<readonly ModelOutput[]>,
): ChannelRemoval => ({
  plan: async (request, current) => {
    const file = await fileOf(current);
    const network = await networkIn(file, request, current);
    const { graph, opset, layers, probes } = network;
    const nameOf = (constant: Constant) => layers.get(constant)?.[0] ?? constant.name;
    const plan = planned(probes, () => planOnnxRemoval(graph, { ...optionsIn(network), roundTo: request.roundTo }));
    const facts = {
      ...factsOf(file, graph, plan, nameOf),
      followed: probes.probes.map(shapesOf),
      notes: [
        ...notesOnSizes(probes, plan, request.inputShapes),
        ...notesOn(plan.followed.failures),
        ...notesOnInputs(graph),
        ...notesOnOpset(opset),
      ],
    };
    return {
      facts,
      rewritten: async (flush) => rewrittenBy(new Rewriting(file, graph, plan, flush), plan, await outputs(current)),
    };
  },
  channels: async (request, current) => {
    const network = await networkIn(await fileOf(current), request, current);
    const { graph, opset, layers, probes } = network;
    const { followed, axes } = planned(probes, () => channelsIn(graph, optionsIn(network)));
    return {
      groups: openGroups(followed.coupling, axes),
      weights: channelsOfWeights(followed, layers),
      notes: [...notesOnProbes(probes), ...notesOn(followed.failures), ...notesOnInputs(graph), ...notesOnOpset(opset)],
    };
  },
});

/** A graph, and what is asked of it. */
async function networkIn(file: ModelFile, request: ChannelsRequest, current: CurrentFiles) {
  const { inputShapes, signal } = request;
  const graph = readGraph(file);
  const layers = layersIn(graph);
  const protect = protectedIn(graph, request.protect, layers);
  const probes = probesOf(graph, inputShapes);
  const numbers = await numbersIn(graph, file, current, request);
  signal?.throwIfAborted();
  return { graph, opset: versionsIn(file).opset, layers, protect, probes, numbers };
}

const optionsIn = ({ opset, protect, probes, numbers }: Awaited<ReturnType<typeof networkIn>>) => ({
  ...{ opset, protect, probes: probes.probes },
  numbersOf: (constant: Constant) => numbers.get(constant),
});

/** The names of each weight that a layer reads. */
function layersIn(graph: Graph): Map<Constant, readonly string[]> {
  const names = new Map<Constant, readonly string[]>();
  for (const finding of findWeights(graph))
    if (finding.constant !== undefined) names.set(finding.constant, finding.names);
  return names;
}

/** @throws SparsifyError `usage` if the graph is not for inputs of the sizes that were chosen */
export function planned<Plan>({ open }: Probes, plan: () => Plan): Plan {
  try {
    return plan();
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    throw sizesMissing(open, 'the channels cannot be followed without the sizes of the inputs', error.message);
  }
}

function factsOf(file: ModelFile, graph: Graph, plan: OnnxRemoval, nameOf: NameOf) {
  const before = sumOf(graph.constants.filter(isParameter).map(({ tensor }) => tensor.length));
  return {
    groups: groupsIn(plan, nameOf),
    blocked: blockedIn(plan.followed, nameOf),
    parameters: { before, after: new Rewriting(file, graph, plan).parameters },
    touchable: touchableIn(plan.followed),
  };
}

export const shapesOf = (probe: ReadonlyMap<Value, readonly number[]>): InputShapes =>
  Object.fromEntries(Array.from(probe, ([{ name }, shape]) => [name, shape]));

async function rewrittenBy(
  rewriting: Rewriting,
  { removal, changes }: OnnxRemoval,
  [main, ...data]: readonly ModelOutput[],
) {
  const files = new Map<string, Uint8Array<ArrayBuffer> | Source>([[main!.path, editedSource(rewriting.write())]]);
  for (const output of data) files.set(output.path, await rewriting.data(output));
  return {
    files,
    indexMap: rewriting.indexMap,
    changes: () => ({
      folded: new Set(removal.folds.map(({ reader }) => reader.operator)).size,
      carriers: [...removal.kept.values()].filter((keeping) => keeping === 'carrier').length,
      copies: rewriting.copies,
      frozen: changes.patches.length,
      subnormals: rewriting.subnormals,
    }),
  } satisfies Awaited<ReturnType<PlannedRemoval['rewritten']>>;
}

/**
 * The values whose channels stay: those that names and globs match, and those that layers or nodes compute that do.
 * @throws SparsifyError `layer` for a name or glob that matches nothing
 */
export function protectedIn(
  { nodes, constants }: Graph,
  patterns: readonly string[],
  layers: ReadonlyMap<Constant, readonly string[]>,
): Set<Value> {
  const found = new Set<Value>();
  if (patterns.length === 0) return found;
  const readers = constants.map((constant) => ({
    names: [constant.name, ...(layers.get(constant) ?? [])],
    values: constant.readers.flatMap(({ node }) => node.outputs),
  }));
  const named = [...readers, ...nodes.map(({ name, outputs }) => ({ names: [name], values: outputs }))];
  const values = nodes.flatMap(({ outputs }) => outputs);
  for (const pattern of patterns) {
    const matches = matcherOf(pattern);
    const own = [
      ...named.filter(({ names }) => names.some((name) => name !== '' && matches(name))).flatMap((each) => each.values),
      ...values.filter(({ name }) => matches(name)),
    ];
    if (own.length === 0) {
      const all = [...layers.values()].map(([name, ...aliases]) => ({ name: name!, aliases }));
      throw new SparsifyError('layer', 'no layer, tensor or value has this name or matches this glob', {
        given: pattern,
        allowed: all.map(({ name }) => name),
        hint: asked(nearestGlobs(pattern, all)),
      });
    }
    for (const value of own) found.add(value);
  }
  return found;
}

/** A sentence about the sizes that were chosen for axes of any size. */
export const notesOnProbes = ({ open, probes }: Probes): string[] =>
  open.length === 0
    ? []
    : [
        `axes of any size were followed as ${probes.map(inWords).join(' and as ')}, and what goes is the same for both; more may ` +
          'go for inputs of one shape, given with `inputShapes`',
      ];

const inWords = (probe: ReadonlyMap<Value, readonly number[]>): string =>
  Array.from(probe, ([{ name }, shape]) => `${name} [${shape.join(', ')}]`).join(', ');

/** Sentences about the sizes of inputs. */
export function notesOnSizes(probes: Probes, { changes }: OnnxRemoval, given: InputShapes): string[] {
  if (probes.open.length > 0 || changes.patches.length === 0 || Object.keys(given).length === 0)
    return notesOnProbes(probes);
  const [shapes] = probes.probes.map(inWords);
  return [`the new model contains shapes that are right for inputs of the given shapes only: ${shapes}`];
}

/** Sentences about nodes that were not followed: each operator and reason once. */
const notesOn = (failures: readonly Failure[]): string[] =>
  notesOnUnfollowed(
    failures.map(({ node, reason }) => ({ title: title(node), reason, kind: `${node.op}: ${reason}` })),
  );

/** What is not followed. */
export interface Unfollowed {
  readonly title: string;
  readonly reason: string;
  /** Those of one kind are told of together. */
  readonly kind: string;
}

/** Sentences about what is not followed: each kind once. */
export function notesOnUnfollowed(failures: readonly Unfollowed[]): string[] {
  const first = failures.filter(({ reason }) => reason !== unknownInput);
  // If there is none, the model reads what no node computes.
  const behind = first.length === 0 ? 0 : failures.length - first.length;
  const found = new Map<string, Unfollowed[]>();
  for (const failure of first.length === 0 ? failures : first) {
    const known = found.get(failure.kind);
    if (known === undefined) found.set(failure.kind, [failure]);
    else known.push(failure);
  }
  const notes = Array.from(found.values(), ([failure, ...more]) => {
    const touch = more.length === 0 ? 'touches' : `and ${more.length} more touch`;
    return `channels that ${failure!.title} ${touch} stay: ${failure!.reason}`;
  });
  return behind === 0 ? notes : [...notes, `so do those of ${behind} ${behind === 1 ? 'node' : 'nodes'} behind them`];
}

/** A sentence about constants for which callers may give other numbers. */
function notesOnInputs({ inputs }: Graph): string[] {
  const [first, ...more] = inputs.filter(({ view }) => view !== undefined);
  if (first === undefined) return [];
  const others = more.length === 0 ? '' : ` and ${more.length} more`;
  return [
    `the channels of ${first.name}${others} stay: callers may give other numbers, since ${more.length === 0 ? 'it is an input' : 'they are inputs'} ` +
      'of the model. They may go once the file no longer lists them as inputs',
  ];
}

const notesOnOpset = (opset: number): string[] =>
  opset > lastOpset
    ? [`the file has opset ${opset}, and the rules are those of operators up to opset ${lastOpset}`]
    : [];
