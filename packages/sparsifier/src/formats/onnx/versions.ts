import { isStandard } from './nodes.js';
import { fields, integer, text, wholeFile, WireType, type ModelFile } from './wire.js';

/** What a model file is written for. */
export interface Versions {
  readonly ir: number;
  /** The version of ONNX's own operators. */
  readonly opset: number;
  /** The domains of its other operators. */
  readonly domains: ReadonlySet<string>;
}

export function versionsIn(file: ModelFile): Versions {
  let [ir, opset] = [0, 0];
  const domains = new Set<string>();
  for (const field of fields(file, wholeFile(file), 'model')) {
    if (field.number === 1 && field.type === WireType.Varint) ir = integer(file, field, 'model');
    if (field.number !== 8 || field.type !== WireType.LengthDelimited) continue;
    let [domain, version] = ['', 0];
    for (const part of fields(file, field, 'opset')) {
      if (part.number === 1 && part.type === WireType.LengthDelimited) domain = text(file, part);
      else if (part.number === 2 && part.type === WireType.Varint) version = integer(file, part, 'opset');
    }
    if (isStandard(domain)) opset = version;
    else domains.add(domain);
  }
  return { ir, opset, domains };
}
