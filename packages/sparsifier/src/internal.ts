// What the tests and benchmarks of this repository use and no user needs. Built, but not among the exports.
export {
  element,
  finishWord,
  finishWords,
  fitWord,
  fitWords,
  infinityKey,
  maximumAxes,
  momentsWord,
  momentsWords,
  recordWords,
  surveyWord,
  surveyWords,
  word,
} from './engine/codes.js';
export type { Call, Verb } from './engine/call.js';
export { callsOf } from './engine/engine.js';
export { measure, type Measured } from './calibration/measure.js';
export { diagnose } from './analysis/doctor/diagnose.js';
export { facts, last, notCastInWebgpu } from './analysis/doctor/facts.js';
export { kerasLayers, notInTfjsWasm, onCpu, onGpu, tensorFlowOperators } from './analysis/doctor/operators.js';
export { runtimeNames, runtimes } from './analysis/doctor/runtimes.js';
export { plainEntry } from './engine/record.js';
export { run, writeTable } from './engine/verbs.js';
export { fit, MomentSums, type Fitted, type Seen } from './engine/repair.js';
export { type LayerGeometry, type Three } from './engine/rows.js';
export { formats } from './formats/all.js';
export { formatOf, type OtherNumbers, type Storage } from './formats/format.js';
export { storageOf } from './formats/file-model.js';
export { Edits, woven } from './formats/onnx/edits.js';
export { incomingIn, type Incoming } from './formats/onnx/incoming.js';
export { fields, wholeFile, type Field } from './formats/onnx/wire.js';
export { openModel } from './formats/open-model.js';
export { readHeader, type Header } from './formats/safetensors/header.js';
export { safetensorsChunks, type TensorToWrite } from './formats/safetensors/write.js';
export type { Source } from './host/host.js';
export { usualReading } from './host/reading.js';
export { writeStream } from './host/stream.js';
export { forms, int4Block, type Form, type NewNumbers } from './model/forms.js';

export { bfloat16, float16, narrowed, widened } from './model/numbers.js';
export { layoutOf, rowsOf } from './model/rows.js';
export { lostOutputs } from './quantization/bias.js';
export { channelLossOf } from './quantization/channels.js';
export { storedAs } from './quantization/codes.js';
export { importanceOf, inputsOf } from './quantization/inputs.js';
export { ruled } from './pruning/table.js';
export { errorLimits } from './pruning/warnings.js';
export { printable } from './printable.js';
export { removalsByError } from './options/budgets.js';
export { Granularity, granularitiesOf, granularityNames, inWords, isPattern } from './options/granularity.js';
export { matcherOf } from './options/names.js';
export { unitsOfTensor } from './options/units.js';
export { keyOf } from './streaming/search.js';
export { stream } from './streaming/stream.js';
export { remembered } from './calibration/remembered.js';
export type { Probe } from './calibration/probe.js';
export { gzip } from './host/gzip.js';
export { checkTargets, open, startCompressor, writeFiles } from '#host';
export { Compressor } from './host/compressor.js';
export { linePlot } from './training/plot.js';
export { readGraph } from './formats/onnx/graph.js';
export { versionsIn } from './formats/onnx/versions.js';
export { planOnnxRemoval } from './formats/onnx/structure/remove.js';
export { rewritten } from './formats/onnx/structure/rewrite.js';
export { Stored } from './structure/stored.js';
export { AmountSearch } from './fit/search.js';
export { recipeOf, recipeSchema, version } from './fit/recipe.js';
export { cutStatistics } from './fit/cut-statistics.js';
