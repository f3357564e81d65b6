import { SparsifyError } from '../../errors.js';
import { isStandard } from './nodes.js';
import { fields, integer, text, wholeFile, WireType, type ModelFile, type Range } from './wire.js';

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

/** The first version of the operators in which `Add` aligns shapes from the right. */
const firstOpset = 7;

/** @throws SparsifyError `format` if an entry of `opset_import` names older operators */
export function checkOpset(file: ModelFile, range: Range): void {
  let domain = '';
  let version = firstOpset;
  for (const field of fields(file, range, 'opset')) {
    if (field.number === 1 && field.type === WireType.LengthDelimited) domain = text(file, field);
    else if (field.number === 2 && field.type === WireType.Varint) version = integer(file, field, 'opset');
  }
  if (isStandard(domain) && version < firstOpset) {
    throw new SparsifyError('format', `the operators are older than opset ${firstOpset}`, {
      subject: file.name,
      found: `opset ${version}`,
      hint: 'Convert the model with onnx.version_converter',
    });
  }
}
