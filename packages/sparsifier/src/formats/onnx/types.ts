/** `TensorProto.DataType`, by number. */
const typeNames = [
  ...['undefined', 'float32', 'uint8', 'int8', 'uint16', 'int16', 'int32', 'int64', 'string', 'bool', 'float16'],
  ...['float64', 'uint32', 'uint64', 'complex64', 'complex128', 'bfloat16', 'float8e4m3fn', 'float8e4m3fnuz'],
  ...['float8e5m2', 'float8e5m2fnuz', 'uint4', 'int4', 'float4e2m1', 'float8e8m0', 'uint2', 'int2'],
];

export const isFloat = (type: string): boolean => type.startsWith('float') || type === 'bfloat16';

/** How many bits a number of a type takes. The names of types say so, apart from `bool`. */
export const bitsOf = (type: string): number => Number(/\d+/.exec(type)?.[0] ?? 8);

/** The name of a type, given its number in onnx.proto. */
export const typeName = (type: number): string => typeNames[type] ?? `type ${type}`;

/** The number of a type in onnx.proto. */
export const typeNumber = (type: string): number => typeNames.indexOf(type);
