// Makes skeletons of ONNX files: the graph as its exporter wrote it, with a repeated pattern in place of the weights, so
// that the file is small when it is compressed.
//
//   node make.mjs model.onnx ...        writes model.onnx.gz beside this script
import { readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { gzipSync } from 'node:zlib';

/** Smaller data may be a shape, an axis or a scale, which the graph depends on. */
const smallest = 1024;

/** Fields of messages that contain others, from the model down to the raw data of tensors. */
const inside = {
  model: { 7: 'graph', 25: 'function' },
  function: { 7: 'node' },
  graph: { 1: 'node', 5: 'tensor' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 11: 'graph' },
  tensor: { 9: 'data' },
};

function overwrite(bytes, start, end, message) {
  let at = start;
  const varint = () => {
    for (let value = 0, place = 1; ; place *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * place;
      if (byte < 128) return value;
    }
  };
  while (at < end) {
    const tag = varint();
    if (tag % 8 === 0) varint();
    else if (tag % 8 !== 2) at += tag % 8 === 1 ? 8 : 4;
    else {
      const length = varint();
      const child = inside[message][Math.floor(tag / 8)];
      if (child === 'data' && length >= smallest) fill(bytes.subarray(at, at + length));
      else if (child !== undefined && child !== 'data') overwrite(bytes, at, at + length, child);
      at += length;
    }
  }
}

/** Small numbers in any type of float: no byte gives an infinite or undefined one. */
function fill(data) {
  for (let index = 0; index < data.length; index++) data[index] = index % 4 < 2 ? (index >> 2) % 60 : 61;
}

for (const path of process.argv.slice(2)) {
  const bytes = await readFile(path);
  overwrite(bytes, 0, bytes.length, 'model');
  await writeFile(new URL(`${basename(path)}.gz`, import.meta.url), gzipSync(bytes, { level: 9 }));
}
