// Prunes a file, writes it and reads it back. Prints the result as JSON.
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Sparsifier } from 'sparsifier';
import { readModel } from 'sparsifier/formats';
import { prune } from './prune.js';

const result = await prune('model.onnx');
const model = await readModel('model.onnx');
await new Sparsifier(model, { layerType: 'all' }).sparsifyModel(50);
await model.write('sparse.onnx', { force: true });
model.close();
const written = [...(await readFile('sparse.onnx'))];
console.log(JSON.stringify({ cores: availableParallelism(), ...result, written }));
