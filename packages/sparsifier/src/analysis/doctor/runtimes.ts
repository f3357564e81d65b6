/** A program that runs models. */
export interface Runtime {
  readonly title: string;
  /** The version that the facts are about. */
  readonly version: string;
  /** The format of the models that it runs, as `FileModel.format` names it. */
  readonly format: 'ONNX' | 'TensorFlow.js';
}

/** The runtimes that the facts are about, by the names that the command takes. */
export const runtimes = {
  'ort-web-wasm': { title: 'onnxruntime-web, wasm', version: '1.30.0', format: 'ONNX' },
  'ort-web-webgpu': { title: 'onnxruntime-web, WebGPU', version: '1.30.0', format: 'ONNX' },
  'ort-node': { title: 'onnxruntime-node, CPU', version: '1.30.0', format: 'ONNX' },
  'tfjs-webgl': { title: 'TensorFlow.js, WebGL', version: '4.22.0', format: 'TensorFlow.js' },
  'tfjs-wasm': { title: 'TensorFlow.js, wasm', version: '4.22.0', format: 'TensorFlow.js' },
} as const satisfies Readonly<Record<string, Runtime>>;

export type RuntimeName = keyof typeof runtimes;
export const runtimeNames = Object.keys(runtimes) as readonly RuntimeName[];
