// A model (ONNX) that tells whether a line of text is upside down, from the same npm package as the text recogniser.
import { dirname, join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import * as recogniser from './recogniser.mjs';

export const file = join(dirname(recogniser.file), 'ch_ppocr_mobile_v2.0_cls_infer.onnx');

/** The same picture upside down. */
function turned({ dims, data }) {
  const size = data.length / dims[1];
  const planes = Array.from({ length: dims[1] }, (_, channel) =>
    data.slice(channel * size, (channel + 1) * size).reverse(),
  );
  return new Tensor('float32', Float32Array.from(planes.flatMap((plane) => [...plane])), dims);
}

/** The percentage of lines that a session tells right, each shown both ways. */
export async function measure(session, samples) {
  let right = 0;
  for (const { feeds } of samples) {
    for (const [label, x] of [feeds.x, turned(feeds.x)].entries()) {
      const { data } = (await session.run({ x }))[session.outputNames[0]];
      if (Number(data[1] > data[0]) === label) right++;
    }
  }
  return (50 * right) / samples.length;
}
