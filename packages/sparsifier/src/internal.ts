// What the tests and benchmarks of this repository use and no user needs. Built, but not among the exports.
export { infinityKey, surveyWord, surveyWords } from './engine/codes.js';
export { plainEntry } from './engine/record.js';
export { run, writeTable } from './engine/verbs.js';
export { fit, MomentSums, type Fitted, type Seen } from './engine/repair.js';
export { type LayerGeometry, type Three } from './engine/rows.js';
export { formats } from './formats/all.js';
export { formatOf } from './formats/format.js';
export { openModel } from './formats/open-model.js';
export { readHeader, type Header } from './formats/safetensors/header.js';
export { safetensorsChunks, type TensorToWrite } from './formats/safetensors/write.js';
export type { Source } from './host/host.js';
export { writeStream } from './host/stream.js';
export { errorLimits } from './pruning/warnings.js';
export { Granularity, granularitiesOf, granularityNames, inWords, isPattern } from './options/granularity.js';
export { matcherOf } from './options/names.js';
export { unitsOfTensor } from './options/units.js';
export { keyOf } from './streaming/search.js';
export { stream } from './streaming/stream.js';
