import { readGraph, planOnnxRemoval, Stored, versionsIn, widened } from '../../../packages/sparsifier/dist/internal.js';

// Tests and benchmarks use this. A model with zeros in all weights of about half of the channels of each group.
export function halved(bytes, shapes, roundTo = 1) {
  const file = { name: 'model.onnx', bytes };
  const graph = readGraph(file);
  const read = new Map();
  const numbersOf = (constant) => {
    const { values } = constant.tensor;
    if (!read.has(constant) && values !== undefined)
      read.set(constant, Stored.of(widened(bytes.slice(values.start, values.start + values.bytes), values.dtype)));
    return read.get(constant);
  };
  const inputs = graph.inputs.filter(({ view }) => view === undefined);
  const probes = [new Map(inputs.map((value) => [value, shapes[value.name]]))];
  const { followed, removal } = planOnnxRemoval(graph, {
    ...{ opset: versionsIn(file).opset, probes, numbersOf, roundTo: 1 },
  });
  const left = (count) => roundTo * Math.max(1, Math.ceil(count / 2 / roundTo - 0.5));
  const dead = new Set(removal.groups.flatMap(({ channels }) => channels.slice(left(channels.length))));
  const result = bytes.slice();
  for (const { constant, tensor } of followed.uses) {
    const { values } = constant.tensor;
    if (values === undefined || tensor.view === undefined) continue;
    const width = values.bytes / values.length;
    let inner = values.length;
    for (const axis of tensor.axes) {
      const outer = inner;
      inner /= axis.length;
      for (const [index, id] of axis.entries()) {
        if (!dead.has(followed.coupling.find(id))) continue;
        for (let place = index * inner; place < values.length; place += outer)
          result.fill(0, values.start + place * width, values.start + (place + inner) * width);
      }
    }
  }
  return result;
}
