// A transformer that turns sentences into vectors, from a Python package: bench/quantise/requirements.txt. The outcome is how
// near its vectors are to those of the dense network: their cosine, in percent.
import { Tensor } from 'onnxruntime-node';
import { inOnnx, likeDense } from '../download/networks.mjs';
import { randomOf } from '../../examples/support/recogniser.mjs';

/** @param file its path */
export function transformerIn(file, isShort) {
  const [calibrating, judging] = [sentences(isShort ? 2 : 16, 1), sentences(isShort ? 4 : 64, 2)];
  return inOnnx({
    name: 'transformer',
    title: 'Transformer (ONNX)',
    outcome: 'cosine with float32, %',
    file,
    layers: { layerType: 'all' },
    ...{ calibrating, judging },
    measureWith: likeDense(file, vectorsOf, cosine),
  });
}

/** Random tokens of the vocabulary, since the package has no tokenizer. */
function sentences(count, seed) {
  const random = randomOf(seed);
  const length = 64;
  return Array.from({ length: count }, () => {
    const ids = BigInt64Array.from({ length }, () => BigInt(1000 + Math.floor(random() * 28_000)));
    const tensor = (data) => new Tensor('int64', data, [1, length]);
    return { feeds: { input_ids: tensor(ids), attention_mask: tensor(new BigInt64Array(length).fill(1n)) } };
  });
}

/** The output with a vector for each sentence. */
const vector = '461';

async function vectorsOf(session, samples) {
  const vectors = [];
  for (const { feeds } of samples) vectors.push(Float32Array.from((await session.run(feeds))[vector].data));
  return vectors;
}

function cosine(vectors, others) {
  const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
  const all = vectors.map(
    (a, index) => dot(a, others[index]) / Math.sqrt(dot(a, a) * dot(others[index], others[index])),
  );
  return (100 * all.reduce((sum, each) => sum + each)) / all.length;
}
