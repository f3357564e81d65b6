import type { Inputs } from '../analysis/comparison/inputs.js';
import { calibrate, sessionModelOf } from '../calibration/onnx.js';
import type { CalibrateProgress, MeasureOptions } from '../calibration/options.js';
import { readStatistics, type Statistics } from '../calibration/statistics.js';
import { SparsifyError } from '../errors.js';
import type { FileModel } from '../formats/file-model.js';
import type { Batches } from './inputs.js';
import { sessionsOfOnnx, type CreateOnnxSession } from './runtime.js';

/** The options of the command line for measuring the inputs of layers. */
export interface MeasuringOptions {
  readonly holdOut?: number;
  /** In megabytes. */
  readonly memory?: number;
}

/** The same options as the library takes them. */
export const measuringOptions = ({ holdOut, memory }: MeasuringOptions): MeasureOptions => ({
  ...(holdOut === undefined ? {} : { holdOut }),
  ...(memory === undefined ? {} : { memory: memory * 2 ** 20 }),
});

/** Where statistics of inputs come from. */
export interface StatisticsOptions extends MeasuringOptions {
  readonly calibrate?: string;
  readonly statistics?: string;
}

/** @throws SparsifyError `usage` if statistics come from two places */
export function checkSource({ calibrate, statistics }: StatisticsOptions): void {
  if (calibrate === undefined || statistics === undefined) return;
  throw new SparsifyError('usage', '--calibrate and --statistics cannot be combined', {
    hint: 'One measures what the other reads from a file',
  });
}

/** @throws SparsifyError `usage` for options of measuring where nothing is measured */
export function checkMeasuring({ calibrate, holdOut, memory }: StatisticsOptions): void {
  if ((holdOut ?? memory) === undefined || calibrate !== undefined) return;
  throw new SparsifyError('usage', `${holdOut === undefined ? '--memory' : '--hold-out'} is for measuring inputs`, {
    hint: 'Give them with --calibrate <file>',
  });
}

/** How a model is run, and the inputs that it is run on. */
export interface SessionData {
  readonly createSession: CreateOnnxSession;
  readonly batches: () => AsyncIterable<Inputs>;
}

/**
 * @param file the path of the model
 * @throws SparsifyError `usage` unless it is an ONNX model, `file` if `onnxruntime-node` is not installed, `format` if it
 *   cannot load the model
 */
export async function sessionDataOf(model: FileModel, file: string, batches: Batches): Promise<SessionData> {
  if (model.format !== 'ONNX') {
    throw new SparsifyError('usage', 'only ONNX models can be calibrated here', {
      subject: file,
      found: `a ${model.format} model`,
      hint: 'Give statistics that were measured elsewhere: sparsifier prune --statistics <file>',
    });
  }
  const createSession = sessionsOfOnnx(file);
  if (createSession === undefined) {
    throw new SparsifyError('file', 'onnxruntime-node runs the model for calibration, and is not installed', {
      hint: 'Run npm install onnxruntime-node in this folder',
    });
  }
  const { bytes, files } = sessionModelOf(model.format, await model.toFiles());
  const session = await createSession(bytes, files);
  await session.release?.();
  return { createSession, batches: () => batches(session.inputMetadata) };
}

/**
 * Statistics of a model: measured, or read from a file; undefined if neither was asked for.
 * @param data if they are measured
 */
export async function statisticsOf(
  model: FileModel,
  data: SessionData | undefined,
  { statistics, ...measuring }: Omit<StatisticsOptions, 'calibrate'>,
  onProgress: (progress: CalibrateProgress) => void,
): Promise<Statistics | undefined> {
  if (data) return calibrate(model, { ...data, ...measuringOptions(measuring), onProgress });
  return statistics === undefined ? undefined : readStatistics(statistics);
}
