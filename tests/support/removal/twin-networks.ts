import type { Twin } from './twins.js';

/** Networks with the layers of those that exporters write. */
export const twinNetworks: Readonly<Record<string, (net: Twin) => void>> = {
  residual: (net) => {
    let x = net.relu(net.norm(net.conv(net.input([12, 12, 3]), 16, { useBias: false })));
    for (const stride of [1, 2]) {
      const inner = net.relu(net.norm(net.conv(x, 16, { stride, useBias: false })));
      const side = stride === 1 ? x : net.norm(net.conv(x, 16, { kernel: 1, stride, useBias: false }));
      x = net.relu(net.add(net.norm(net.conv(inner, 16, { useBias: false })), side));
    }
    net.output(net.dense(net.mean(x), 5));
  },
  mobile: (net) => {
    let x = net.conv(net.input([10, 10, 3]), 8, { stride: 2, activation: 'relu' });
    for (let block = 0; block < 2; block++) {
      const wide = net.relu(net.norm(net.conv(x, 24, { kernel: 1, useBias: false })));
      const filtered = net.relu(net.norm(net.depthwise(wide, { useBias: false })));
      x = net.add(x, net.norm(net.conv(filtered, 8, { kernel: 1, useBias: false })));
    }
    net.output(net.dense(net.mean(x), 4));
  },
  separable: (net) => {
    const x = net.relu(net.separable(net.conv(net.input([8, 8, 3]), 12, { activation: 'relu' }), 16));
    net.output(net.conv(net.separable(x, 10), 2, { padding: 'valid' }));
  },
  squeezeExcite: (net) => {
    const x = net.conv(net.input([8, 8, 3]), 16, { activation: 'relu' });
    const gate = net.conv(net.conv(net.squeeze(x), 8, { kernel: 1, activation: 'relu' }), 16, {
      kernel: 1,
      activation: 'sigmoid',
    });
    net.output(net.conv(net.multiply(x, gate), 3));
  },
  unet: (net) => {
    const one = net.conv(net.input([8, 8, 3]), 8, { activation: 'relu' });
    const two = net.conv(net.maxPool(one), 16, { activation: 'relu' });
    const three = net.conv(net.maxPool(two), 24, { activation: 'relu' });
    const up = net.conv(net.concat(net.transposed(three, 16), two), 16, { activation: 'relu' });
    const last = net.conv(net.concat(net.transposed(up, 8), one, net.upSample(net.upSample(three))), 8, {
      activation: 'relu',
    });
    net.output(net.conv(last, 2, { kernel: 1 }));
  },
  flatten: (net) => {
    const x = net.maxPool(net.conv(net.input([8, 8, 3]), 12, { padding: 'valid', activation: 'relu' }));
    net.output(net.dense(net.dense(net.flatten(x), 20, 'relu'), 4, 'sigmoid'));
  },
  recurrent: (net) => {
    const x = net.dense(net.input([6, 5]), 12, 'relu');
    net.output(net.dense(net.lstm(net.lstm(x, 10), 8), 3));
  },
};
