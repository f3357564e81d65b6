/** What a word can be given for. */
export type Topic = 'option' | 'kind' | 'granularity' | 'criteria' | 'form' | 'runtime';

/**
 * What PyTorch, Keras, ONNX and papers call things that have another name here, in small letters and without
 * punctuation. These words are suggested, not accepted: most of them mean something slightly different. (fasterai's
 * names with underscores are the only aliases.) A value may add an option in backticks.
 */
const meanings: Readonly<Record<Topic, Readonly<Record<string, readonly string[]>>>> = {
  option: {
    group: ['rankTogether'],
    amount: ['sparsity', '`sparsifyModel(50)`'],
    sparsity: ['`sparsifyModel(50)`'],
    method: ['criteria'],
    criterion: ['criteria'],
    scope: ['context'],
    kind: ['layerType'],
    layer: ['include'],
    layertype: ['layerType'],
    smaller: ['smallerThan'],
    roundto: ['roundTo', '`sparsifyModel(50, { roundTo: 8 })`'],
    ignoredlayer: ['exclude'],
    ignore: ['exclude'],
    skip: ['exclude'],
  },
  form: {
    fp16: ['float16'],
    half: ['float16'],
    f16: ['float16'],
    bf16: ['bfloat16'],
    bfp16: ['bfloat16'],
    i8: ['int8'],
    q8: ['int8'],
    qint8: ['int8'],
    s8: ['int8'],
    qdq: ['int8'],
    '8bit': ['int8', 'uint8'],
    u8: ['uint8'],
    quint8: ['uint8'],
    u16: ['uint16'],
    quint16: ['uint16'],
    dynamic: ['int8-dynamic'],
    i4: ['int4'],
    q4: ['int4'],
    '4bit': ['int4'],
    nf4: ['int4'],
    uint4: ['int4'],
    matmulnbits: ['int4'],
  },
  runtime: {
    ort: ['ort-web-wasm', 'ort-web-webgpu', 'ort-node'],
    onnxruntime: ['ort-web-wasm', 'ort-web-webgpu', 'ort-node'],
    ortweb: ['ort-web-wasm', 'ort-web-webgpu'],
    onnxruntimeweb: ['ort-web-wasm', 'ort-web-webgpu'],
    onnxruntimenode: ['ort-node'],
    web: ['ort-web-wasm', 'ort-web-webgpu', 'tfjs-webgl', 'tfjs-wasm'],
    browser: ['ort-web-wasm', 'ort-web-webgpu', 'tfjs-webgl', 'tfjs-wasm'],
    node: ['ort-node'],
    nodejs: ['ort-node'],
    cpu: ['ort-node', 'ort-web-wasm', 'tfjs-wasm'],
    gpu: ['ort-web-webgpu', 'tfjs-webgl'],
    webgpu: ['ort-web-webgpu'],
    webgl: ['tfjs-webgl'],
    wasm: ['ort-web-wasm', 'tfjs-wasm'],
    webassembly: ['ort-web-wasm', 'tfjs-wasm'],
    tfjs: ['tfjs-webgl', 'tfjs-wasm'],
    tensorflow: ['tfjs-webgl', 'tfjs-wasm'],
    tensorflowjs: ['tfjs-webgl', 'tfjs-wasm'],
  },
  kind: {
    linear: ['dense'],
    lazylinear: ['dense'],
    bilinear: ['dense'],
    fc: ['dense'],
    fullyconnected: ['dense'],
    gemm: ['dense'],
    matmul: ['dense'],
    einsumdense: ['dense'],
    attention: ['dense'],
    multiheadattention: ['dense'],
    transformerencoderlayer: ['dense'],
    transformerdecoderlayer: ['dense'],
    conv: ['conv1d', 'conv2d', 'conv3d'],
    convolution: ['conv1d', 'conv2d', 'conv3d'],
    convolution1d: ['conv1d'],
    convolution2d: ['conv2d'],
    convolution3d: ['conv3d'],
    depthwiseconv1d: ['conv1d'],
    depthwiseconv2d: ['conv2d'],
    separableconv1d: ['conv1d'],
    separableconv2d: ['conv2d'],
    convtranspose: ['convTranspose1d', 'convTranspose2d', 'convTranspose3d'],
    conv1dtranspose: ['convTranspose1d'],
    conv2dtranspose: ['convTranspose2d'],
    conv3dtranspose: ['convTranspose3d'],
    deconv: ['convTranspose1d', 'convTranspose2d', 'convTranspose3d'],
    deconv1d: ['convTranspose1d'],
    deconv2d: ['convTranspose2d'],
    deconv3d: ['convTranspose3d'],
    embeddingbag: ['embedding'],
    gather: ['embedding'],
    lstmcell: ['lstm'],
    convlstm2d: ['lstm'],
    grucell: ['gru'],
    rnncell: ['rnn'],
    simplernn: ['rnn'],
    simplernncell: ['rnn'],
  },
  granularity: {
    unstructured: ['weight'],
    element: ['weight'],
    individual: ['weight'],
    finegrained: ['weight'],
    structured: ['filter'],
    outputchannel: ['filter'],
    outchannel: ['filter'],
    neuron: ['filter'],
    unit: ['filter'],
    inputchannel: ['sharedKernel'],
    inchannel: ['sharedKernel'],
    nm: ['`granularity: { nm: [2, 4] }`'],
    'n:m': ['`granularity: { nm: [2, 4] }`'],
    '2:4': ['`granularity: { nm: [2, 4] }`'],
    semistructured: ['`granularity: { nm: [2, 4] }`'],
    block: ['`granularity: { block: { out: 1, in: 4 } }`'],
    spanning: ["`granularity: { spanning: ['in', 'height'] }`"],
  },
  criteria: {
    l1: ['largeFinal'],
    l1norm: ['largeFinal'],
    abs: ['largeFinal'],
    absolute: ['largeFinal'],
    weightmagnitude: ['largeFinal'],
    l1unstructured: ["largeFinal with `granularity: 'weight'`"],
    l2: ["largeFinal with `reducer: 'l2'`"],
    l2norm: ["largeFinal with `reducer: 'l2'`"],
    ln: ["largeFinal with `reducer: 'l2'`"],
    l1structured: ["largeFinal with `granularity: 'filter'`"],
    lnstructured: ["largeFinal with `granularity: 'filter'` and `reducer: 'l2'`"],
    l2structured: ["largeFinal with `granularity: 'filter'` and `reducer: 'l2'`"],
    square: ['squaredFinal'],
    gradient: ['taylor'],
    firstorder: ['taylor'],
    taylorfo: ['taylor'],
    activation: ['wanda'],
    randomunstructured: ["random with `granularity: 'weight'`"],
    randomstructured: ["random with `granularity: 'filter'`"],
    lamp: ["largeFinal with `context: 'global'` and `budget: 'lamp'`"],
  },
};

/** Whose module a layer is: `torch.nn.Linear`, `tf.keras.layers.Dense`, `prune.ln_structured`. */
const modules = /^(?:(?:torch|nn|utils|prune|tf|keras|layers|onnx)\.)+/;

/** What a word, or its singular, means here; undefined where the table does not have it. */
export function meaningOf(word: string, topic: Topic): readonly string[] | undefined {
  const own = meanings[topic];
  const plain = plainWord(word);
  const known = [plain, plain.replace(/s$/, '')].find((each) => Object.hasOwn(own, each));
  return known === undefined ? undefined : own[known];
}

/** A word in small letters, without its module and without punctuation: `nn.Conv_2d` is `conv2d`. */
export const plainWord = (word: string): string =>
  word
    .toLowerCase()
    .replace(modules, '')
    .replace(/[\s._-]/g, '');
