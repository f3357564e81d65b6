import fc from 'fast-check';
import type { WeightTensor } from 'sparsifier';
import { expect, test } from 'vitest';
import { storageOf, type Form, type NewNumbers } from '../../support/internal.js';
import {
  concat,
  constant,
  floatAttribute,
  integerAttribute,
  integerField,
  integersAttribute,
  model,
  node,
  numbers,
  tensor,
} from '../../support/onnx-builder.js';
import { bytesOf, read, run, sizeOf, type Files } from '../../support/stored-models.js';
import { halves, storedAs } from '../../support/storing.js';

// Random networks are built twice: with their numbers, of which the library stores some in other forms, and with what these
// then stand for.

interface Step {
  readonly op: 'MatMul' | 'Gemm' | 'Conv';
  readonly outputs: number;
  readonly isTransposed: boolean;
  readonly arrangement: 'none' | 'Identity' | 'Transpose' | 'Reshape';
  readonly storage: 'raw' | 'packed' | 'unpacked' | 'Constant' | 'external';
  readonly bias: 'none' | 'kept' | 'float16';
  readonly factor: number;
  /** Whether the layer reads its weight a second time. */
  readonly isShared: boolean;
  readonly form: Form | undefined;
}

interface Spec {
  readonly inputs: number;
  readonly opset: number;
  readonly version: number;
  readonly steps: readonly Step[];
}

const batch = 3;

/** The axes of a weight as it is stored, given its inputs. */
function storedShape({ op, outputs, isTransposed, arrangement }: Step, inputs: number): number[] {
  if (op === 'Conv') return [outputs, inputs, 1];
  const isOutFirst = (op === 'Gemm' && isTransposed) !== (arrangement === 'Transpose');
  return isOutFirst ? [outputs, inputs] : [inputs, outputs];
}

/** The network with the numbers that `numbersOf` gives its constants. */
function networkOf(
  { inputs, opset, version, steps }: Spec,
  numbersOf: (name: string, count: number) => Float32Array,
): Files {
  const nodes: Uint8Array[] = [];
  const initializers: Uint8Array[] = [];
  const listed: Record<string, readonly number[]> = {};
  let data = new Uint8Array(0);
  const store = (name: string, shape: readonly number[], storage: Step['storage']) => {
    const bytes = new Uint8Array(numbersOf(name, sizeOf(shape)).slice().buffer);
    if (storage === 'Constant') return nodes.push(constant(name, shape, { data: bytes }));
    listed[name] = shape;
    if (storage !== 'external') return initializers.push(tensor(name, shape, { data: bytes, storage }));
    const external = { location: 'data.bin', offset: data.length, length: bytes.length };
    data = concat(data, bytes);
    return initializers.push(tensor(name, shape, { external }));
  };
  const reshape = (from: string, shape: readonly number[], to: string) => {
    nodes.push(constant(`${to}.shape`, [shape.length], { dtype: 'int64', data: numbers('int64', shape) }));
    nodes.push(node('Reshape', `${from} ${to}.shape`, to));
  };
  let width = inputs;
  let value = 'x';
  steps.forEach((step, index) => {
    const { op, outputs, isTransposed, arrangement, storage, bias, factor, isShared } = step;
    const shape = storedShape(step, width);
    store(`w${index}`, shape, storage);
    let weight = `w${index}`;
    if (arrangement === 'Identity') nodes.push(node('Identity', weight, (weight = `a${index}`)));
    if (arrangement === 'Transpose') {
      const order = op === 'Conv' ? [0, 1, 2] : [1, 0];
      nodes.push(node('Transpose', weight, (weight = `a${index}`), { attributes: [integersAttribute('perm', order)] }));
    }
    if (arrangement === 'Reshape') reshape(weight, op === 'Conv' ? [0, -1, 1] : [0, -1], (weight = `a${index}`));
    if (bias !== 'none') store(`b${index}`, [outputs], storage);
    const count = isShared && outputs === width ? 2 : 1;
    for (let use = 0; use < count; use++) {
      const name = use === 0 ? `layer${index}` : `again${index}`;
      const [from, to] = [value, `y${index}.${use}`];
      const given = bias === 'none' ? '' : ` b${index}`;
      if (op === 'Conv') {
        reshape(from, [batch, width, 1], `${to}.in`);
        nodes.push(node('Conv', `${to}.in ${weight}${given}`, `${to}.out`, { name }));
        reshape(`${to}.out`, [batch, outputs], to);
      } else if (op === 'Gemm') {
        const attributes = [integerAttribute('transB', Number(isTransposed)), floatAttribute('alpha', factor)];
        nodes.push(node('Gemm', `${from} ${weight}${given}`, to, { name, attributes }));
      } else if (bias === 'none') nodes.push(node('MatMul', `${from} ${weight}`, to, { name }));
      else {
        nodes.push(node('MatMul', `${from} ${weight}`, `${to}.product`, { name }));
        nodes.push(node('Add', `${to}.product${given}`, to));
      }
      value = to;
    }
    width = outputs;
  });
  const bytes = model(
    {
      nodes: [...nodes, node('Identity', value, 'y')],
      initializers,
      // Before version 4, all initializers are inputs too.
      inputs: { x: [batch, inputs], ...(version < 4 && listed) },
      outputs: { y: undefined },
    },
    opset,
  );
  const main = concat(integerField(1, version), bytes.subarray(2));
  return new Map([['model.onnx', main], ...(data.length > 0 ? [['data.bin', data] as const] : [])]);
}

const width = fc.constantFrom(1, 5, 8, 33, 64, 70);
const anySpec: fc.Arbitrary<Spec> = fc.record({
  inputs: width,
  opset: fc.constantFrom(7, 9, 11, 13, 17),
  version: fc.constantFrom(3, 8),
  steps: fc.array(
    fc.record({
      op: fc.constantFrom('MatMul' as const, 'Gemm' as const, 'Conv' as const),
      outputs: width,
      isTransposed: fc.boolean(),
      arrangement: fc.constantFrom('none' as const, 'Identity' as const, 'Transpose' as const, 'Reshape' as const),
      storage: fc.constantFrom(
        'raw' as const,
        'packed' as const,
        'unpacked' as const,
        'Constant' as const,
        'external' as const,
      ),
      bias: fc.constantFrom('none' as const, 'kept' as const, 'float16' as const),
      factor: fc.constantFrom(1, 0.5, 0.75),
      isShared: fc.boolean(),
      form: fc.constantFrom('int8' as const, 'int8-dynamic' as const, 'int4' as const, 'float16' as const, undefined),
    }),
    { minLength: 1, maxLength: 4 },
  ),
});
/** Before opset 11, every Gemm has a bias. */
const spec = anySpec.map(({ steps, ...rest }): Spec => {
  const isGiven = ({ op, bias }: Step) => bias !== 'none' || op !== 'Gemm' || rest.opset >= 11;
  return { ...rest, steps: steps.map((step) => (isGiven(step) ? step : { ...step, bias: 'kept' })) };
});

/** The root of the mean of squares. */
const size = (list: readonly number[]) =>
  Math.sqrt(list.reduce((sum, number) => sum + number * number, 0) / list.length);

test('Random networks compute what their numbers stand for, whatever form each has and wherever it is', async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(spec, async (spec) => {
      const first = (name: string, count: number) =>
        new Float32Array(bytesOf(count, name.codePointAt(0)! + Number(name.slice(1)) * 7).data.buffer);
      const files = networkOf(spec, first);
      using before = await read(files);
      const { storage, current } = storageOf(before);
      const [layers, others] = [new Map<string, NewNumbers>(), new Map<string, NewNumbers>()];
      const replaced = new Map<string, Float32Array>();
      let isDynamic = false;
      const layerOf = (index: number): WeightTensor | undefined =>
        before.tensors.find(({ name }) => name === `layer${index}`);
      spec.steps.forEach(({ form, bias, outputs }, index) => {
        const layer = layerOf(index);
        // Which axis of size 1 is which is not known behind Reshape.
        if (layer === undefined) expect(spec.steps[index]!.arrangement).toBe('Reshape');
        else if (form !== undefined && storage.obstacle(layer, form) === undefined) {
          const { numbers, values } = storedAs(form, layer, first(`w${index}`, layer.values.length));
          layers.set(layer.name, numbers);
          replaced.set(`w${index}`, values);
          isDynamic ||= form === 'int8-dynamic';
          seen.add(`${form} ${spec.version}`);
        }
        const isOther = storage.others().some(({ name }) => name === `b${index}`);
        expect(isOther).toBe(bias !== 'none' && outputs >= 64);
        if (bias !== 'float16' || !isOther) return;
        const { numbers, values } = halves(first(`b${index}`, outputs));
        others.set(`b${index}`, numbers);
        replaced.set(`b${index}`, values);
        seen.add('other');
      });
      const after = await storage.rewritten(layers, others, current);
      if (replaced.size === 0) expect(after).toEqual(files);
      const reference = networkOf(spec, (name, count) => replaced.get(name) ?? first(name, count));
      const inputs = { x: [batch, spec.inputs] };
      for (const level of ['disabled', 'all'] as const) {
        const [found, expected] = [(await run(after, inputs, level)).y!, (await run(reference, inputs, level)).y!];
        expect(found).toHaveLength(expected.length);
        const error = size(expected.map((number, index) => number - found[index]!));
        // Inputs of 8 bits are wrong by up to 1/510 of the range of all inputs, in each layer anew.
        expect(error).toBeLessThanOrEqual((isDynamic ? 0.1 : 1e-5) * size(expected));
      }
    }),
    { numRuns: 100 },
  );
  for (const form of ['int8', 'int8-dynamic', 'int4', 'float16']) {
    for (const version of [3, 8]) expect(seen).toContain(`${form} ${version}`);
  }
  expect(seen).toContain('other');
});
