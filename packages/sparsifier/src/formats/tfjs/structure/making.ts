import { productOf } from '../../../model/numbers.js';
import type { Constant, Value } from '../../onnx/graph.js';
import type { Attribute } from '../../onnx/nodes.js';
import type { Shape } from '../../onnx/shapes.js';
import type { WireType } from '../../onnx/wire.js';

/** A list of integers, a number or a text of a node. A number that is not whole is a float in any case. */
export type Attributes = Readonly<Record<string, number | string | readonly number[] | Float>>;

/** A float, or a list of floats. */
export class Float {
  constructor(readonly value: number | readonly number[]) {}
}

/** The type of a message, without the library that reads files. */
const lengthDelimited: WireType = 2;

/** In place of the message of a node in a file. Rules apply only to nodes of the main graph, which have one. */
export const nowhere = {
  ...{ number: 1, type: lengthDelimited, start: 0, end: 0, tagStart: 0, lengthStart: 0 },
  within: undefined,
};

export function newValue(name: string, shape: Shape | undefined, rank = shape?.length): Value {
  return {
    name,
    shape,
    isInner: false,
    rank,
    producer: undefined,
    isConstant: false,
    view: undefined,
    parts: [],
    readers: [],
    isOutput: false,
  };
}

export function newConstant(
  name: string,
  place: number,
  shape: readonly number[],
  type: string,
  integers?: readonly number[],
  floats?: () => readonly number[],
): Constant {
  const length = productOf(shape);
  const tensor = { name, shape, type, length, isSparse: false, values: undefined, codes: undefined, integers, floats };
  return {
    name,
    place,
    holder: undefined,
    tensor,
    isCode: false,
    decoded: undefined,
    readers: [],
    parameterReads: 0,
    uses: [],
    isOutput: false,
    overlaps: undefined,
  };
}

export function attributeOf(value: Attributes[string]): Attribute {
  const isFloat = value instanceof Float;
  const plain = isFloat ? value.value : value;
  const list = typeof plain === 'object' ? [...plain] : [];
  const number = typeof plain === 'number' ? plain : undefined;
  return {
    integer: isFloat ? undefined : number,
    float: isFloat ? number : undefined,
    text: typeof plain === 'string' ? plain : undefined,
    integers: isFloat ? [] : list,
    floats: isFloat ? list : [],
    ...{ texts: [], tensors: [], sparse: [], graphs: [], reference: undefined },
  };
}
