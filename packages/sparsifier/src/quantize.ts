export type { Form } from './model/forms.js';
export { dequantize, type DequantizeOptions, type Dequantized } from './quantization/dequantize.js';
export type { OtherForm, QuantizeOptions, QuantizeProgress } from './quantization/options.js';
export { quantize, type Quantized } from './quantization/quantize.js';
export type {
  DequantizeReport,
  FileBytes,
  LeftTensor,
  OtherTensor,
  QuantizedLayer,
  QuantizeReport,
} from './quantization/report.js';
export type { QuantizeWarning, QuantizeWarningCode, QuantizeWarningDetails } from './quantization/warnings.js';
