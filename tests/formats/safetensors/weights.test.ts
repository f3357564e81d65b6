// Which tensors of a checkpoint are weights, and which of their axes are outputs, is told by names and shapes alone.
import fc from 'fast-check';
import { Granularity, Sparsifier, type Role } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { readModel } from 'sparsifier/formats';
import { readSafetensors, type FileModel, type LayerDescriptions } from 'sparsifier/formats/safetensors';
import { describe, expect, test } from 'vitest';
import { readBytes } from '../../support/files.js';
import { errorOf, product, values } from '../../support/layers.js';
import { concat } from '../../support/onnx-builder.js';
import { indexOf, safetensorsFile, type TensorsToStore } from '../../support/safetensors-builder.js';

/** What is read from a file, in short: `kind roles biases` by name, or the reason why a tensor is skipped. */
async function read(bytes: Uint8Array<ArrayBuffer>, layers?: LayerDescriptions): Promise<Record<string, string>> {
  using model = await readSafetensors(bytes, { layers });
  return Object.fromEntries([
    ...model.tensors.map(({ name, kind, roles, partners }) => [
      name,
      `${kind} ${roles.join(',')}${partners.length > 0 ? ' + bias' : ''}`,
    ]),
    ...model.skipped.map(({ name, reason }) => [name, `skipped: ${reason}`]),
  ]);
}
const readTensors = (tensors: TensorsToStore, layers?: LayerDescriptions) => read(safetensorsFile(tensors), layers);

const outFirst = 'dense out,multiplier,in';
const inFirst = 'dense out,in,multiplier';

describe('files that were misread', () => {
  test.each<[name: string, expected: Record<string, string>]>([
    [
      'granitemoe',
      {
        'model.layers.0.block_sparse_moe.input_linear': outFirst,
        'model.layers.0.block_sparse_moe.output_linear': outFirst,
        'model.layers.0.block_sparse_moe.router.layer': 'dense out,in',
        'model.layers.0.self_attn.q_proj': 'dense out,in',
        'model.embed_tokens': 'embedding out,in',
      },
    ],
    [
      'normals',
      {
        normal_head: 'conv2d out,in,height,width + bias',
        'normals.0': 'conv2d out,in,height,width',
        abnormal: 'dense out,in',
        depth_head: 'conv2d out,in,height,width',
        layer_norm_proj: 'dense out,in',
        denorm: 'dense out,in',
      },
    ],
    ['hdr_metanull', { a: 'dense out,in' }],
    ['gpt2_square', { 'h.0.attn.c_attn': 'dense in,out + bias', 'h.0.attn.c_proj': 'dense in,out + bias' }],
  ])('All layers of %s are found as they are', async (name, expected) => {
    const bytes = await readBytes(`cases/${name}.safetensors`);
    expect(await read(bytes)).toEqual(expected);
    using model = await readModel(bytes);
    expect(await model.bytes()).toEqual(bytes);
  });

  test.each(['norm', 'q_norm', 'LayerNorm', 'norm1', 'norm_1', 'layernorms', 'BatchNorm2d', 'norm_out', 'norm_q'])(
    'A module named %s is a normalisation layer',
    async (module) => {
      const found = await readTensors({ [`a.${module}.weight`]: [2, 3] });
      expect(found).toEqual({ [`a.${module}`]: 'skipped: its name is that of a normalisation layer' });
    },
  );
});

describe('the order of inputs and outputs', () => {
  test.each<[title: string, tensors: TensorsToStore, expected: Record<string, string>]>([
    [
      'the bias of a matrix has one number per column',
      { 'a.weight': [3, 5], 'a.bias': [5] },
      { a: 'dense in,out + bias' },
    ],
    [
      'the bias of a matrix has one number per row',
      { 'a.weight': [3, 5], 'a.bias': [3] },
      { a: 'dense out,in + bias' },
    ],
    [
      'a square matrix lies beside one that is stored as (in, out)',
      { 'b.a.weight': [3, 9], 'b.a.bias': [9], 'b.c.weight': [3, 3], 'b.c.bias': [3], 'd.e.weight': [3, 3] },
      { 'b.a': 'dense in,out + bias', 'b.c': 'dense in,out + bias', 'd.e': 'dense out,in' },
    ],
    [
      'a square matrix has the name of one elsewhere that is stored as (in, out)',
      { 'h.0.c.weight': [3, 3], 'h.0.c.bias': [3], 'h.1.c.weight': [3, 9], 'h.1.c.bias': [9] },
      { 'h.0.c': 'dense in,out + bias', 'h.1.c': 'dense in,out + bias' },
    ],
    [
      'GPT-2 has no biases',
      { 'h.attn.c_attn.weight': [3, 9], 'h.attn.c_proj.weight': [3, 3], 'h.mlp.c_proj.weight': [12, 3] },
      { 'h.attn.c_attn': 'dense in,out', 'h.attn.c_proj': 'dense in,out', 'h.mlp.c_proj': 'dense in,out' },
    ],
    [
      'the same names are those of linear layers',
      { 'h.attn.c_attn.weight': [9, 3], 'h.attn.c_proj.weight': [3, 3], 'h.mlp.c_proj.weight': [3, 12] },
      { 'h.attn.c_attn': 'dense out,in', 'h.attn.c_proj': 'dense out,in', 'h.mlp.c_proj': 'dense out,in' },
    ],
    [
      'the bias of a convolution fits its second axis',
      {
        'up.weight': [4, 3, 2, 2],
        'up.bias': [3],
        'x.weight': [4, 3, 2],
        'x.bias': [3],
        'y.weight': [4, 3, 2],
        'y.bias': [4],
      },
      {
        up: 'convTranspose2d in,out,height,width + bias',
        x: 'convTranspose1d in,out,width + bias',
        y: 'conv1d out,in,width + bias',
      },
    ],
  ])('It is known if %s', async (_title, tensors, expected) => {
    expect(await readTensors(tensors)).toEqual(expected);
  });

  test('A square matrix between matrices of both orders has a note', async () => {
    using model = await readSafetensors(
      safetensorsFile({
        'b.a.weight': [3, 9],
        'b.a.bias': [9],
        'b.c.weight': [3, 3],
        'b.d.weight': [9, 3],
        'b.d.bias': [9],
      }),
    );
    expect(model.tensors.map(({ roles, notes }) => [roles.join(), notes.length])).toEqual([
      ['in,out', 0],
      ['out,in', 1],
      ['out,in', 0],
    ]);
  });
});

describe('experts', () => {
  const unknown = expect.stringMatching(/^skipped: its name is that of experts.*--layer/);
  test.each<[title: string, tensors: TensorsToStore, expected: Record<string, string>]>([
    [
      'gated matrices as (experts, out, in)',
      { 'm.experts.gate_up_proj': [4, 12, 8], 'm.experts.down_proj': [4, 8, 6] },
      { 'm.experts.gate_up_proj': outFirst, 'm.experts.down_proj': outFirst },
    ],
    [
      'gated matrices as (experts, in, out), even if all of them fit each other otherwise',
      { 'm.experts.gate_up_proj': [4, 8, 16], 'm.experts.down_proj': [4, 8, 8] },
      { 'm.experts.gate_up_proj': inFirst, 'm.experts.down_proj': inFirst },
    ],
    [
      'their biases have two axes',
      { 'experts.gate_up_proj': [4, 8, 16], 'experts.gate_up_proj_bias': [4, 16] },
      {
        'experts.gate_up_proj': `${inFirst} + bias`,
        'experts.gate_up_proj_bias':
          'skipped: it is the bias of experts.gate_up_proj, and is removed with its output channels',
      },
    ],
    [
      'a router reads what their first matrix reads',
      {
        'moe.gate.weight': [4, 8],
        'moe.experts.w1.weight': [4, 6, 8],
        'moe.experts.w2.weight': [4, 8, 6],
        'moe.experts.w3.weight': [4, 6, 8],
      },
      {
        'moe.gate': 'dense out,in',
        'moe.experts.w1': outFirst,
        'moe.experts.w2': outFirst,
        'moe.experts.w3': outFirst,
      },
    ],
    [
      'the same as (experts, in, out)',
      { 'moe.gate.weight': [4, 8], 'moe.experts.w1': [4, 8, 6], 'moe.experts.w2': [4, 6, 8] },
      { 'moe.gate': 'dense out,in', 'moe.experts.w1': inFirst, 'moe.experts.w2': inFirst },
    ],
    [
      'nothing tells the order',
      { 'moe.experts.w1': [4, 8, 6], 'moe.experts.w2': [4, 6, 8], 'x.experts.up.weight': [4, 6, 8] },
      { 'moe.experts.w1': unknown, 'moe.experts.w2': unknown, 'x.experts.up': unknown },
    ],
    [
      'their shapes contradict each other',
      { 'moe.experts.gate_up_proj': [4, 12, 8], 'moe.experts.down_proj': [4, 7, 6] },
      { 'moe.experts.gate_up_proj': unknown, 'moe.experts.down_proj': unknown },
    ],
    [
      'no name says so, but the matrices fit each other',
      { 'layer.input_linear.weight': [4, 12, 8], 'layer.output_linear.weight': [4, 8, 6] },
      { 'layer.input_linear': outFirst, 'layer.output_linear': outFirst },
    ],
    [
      'the same names are those of convolutions',
      { 'a.fc1.weight': [12, 4, 3], 'a.fc2.weight': [4, 12, 3], 'b.w1.weight': [4, 4, 3], 'b.w2.weight': [4, 4, 3] },
      Object.fromEntries(['a.fc1', 'a.fc2', 'b.w1', 'b.w2'].map((name) => [name, 'conv1d out,in,width'])),
    ],
  ])('They are told from convolutions, or skipped: %s', async (_title, tensors, expected) => {
    expect(await readTensors(tensors)).toEqual(expected);
  });

  test('Experts can be described in either order of their axes', async () => {
    const tensors = { 'experts.w1': [2, 3, 4], 'experts.w2': [2, 3, 4] };
    const roles: Role[] = ['out', 'in', 'multiplier'];
    const layers: LayerDescriptions = { 'experts.w1': { kind: 'dense' }, 'experts.w2': { kind: 'dense', roles } };
    expect(await readTensors(tensors, layers)).toEqual({ 'experts.w1': outFirst, 'experts.w2': inFirst });
  });

  const [experts, inputs, outputs] = [3, 8, 5];
  const numbers = values(experts * inputs * outputs, 7, 40);
  /** The same weights, with inputs before outputs. */
  const transposed = Float32Array.from(numbers, (_, index) => {
    const [expert, rest] = [Math.floor(index / (inputs * outputs)), index % (inputs * outputs)];
    return numbers[expert * inputs * outputs + (rest % outputs) * inputs + Math.floor(rest / outputs)]!;
  });
  const bytesOf = (floats: Float32Array) => new Uint8Array(Float32Array.from(floats).buffer);
  const fileOf = (isOutFirst: boolean) =>
    safetensorsFile({
      'experts.up': {
        shape: isOutFirst ? [experts, outputs, inputs] : [experts, inputs, outputs],
        data: bytesOf(isOutFirst ? numbers : transposed),
      },
      'experts.up_bias': { shape: [experts, outputs], data: bytesOf(values(experts * outputs)) },
    });
  const described = (isOutFirst: boolean): LayerDescriptions => ({
    'experts.up': { kind: 'dense', roles: isOutFirst ? ['out', 'multiplier', 'in'] : ['out', 'in', 'multiplier'] },
  });
  const weightsOf = async (model: FileModel, name = 'experts.up') => {
    const bytes = await model.bytes();
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const [from, to] = header[name].data_offsets.map((offset: number) => offset + 8 + length);
    return new Float32Array(bytes.slice(from, to).buffer);
  };

  test.each(['weight', 'row', 'filter', 'nm', 'block'])(
    'By %s they lose what one matrix with all of their outputs loses, in either order',
    async (name) => {
      const forms = { nm: Granularity.nm(2, 4), block: Granularity.block({ in: 4 }) };
      const granularity = name in forms ? forms[name as keyof typeof forms] : (name as 'row');
      const amount = name === 'nm' ? [] : [40];
      const data = numbers.slice();
      const bias = values(experts * outputs);
      const one = fromArrays({
        up: { kind: 'dense', roles: ['out', 'in'], shape: [experts * outputs, inputs], data, bias },
      });
      await new Sparsifier(one, { granularity, layerType: 'all' }).sparsifyModel(...amount);
      for (const isOutFirst of [true, false]) {
        using model = await readSafetensors(fileOf(isOutFirst), { layers: described(isOutFirst) });
        await new Sparsifier(model, { granularity, layerType: 'all' }).sparsifyModel(...amount);
        const found = await weightsOf(model);
        const back = Float32Array.from(found, (_, index) => {
          if (isOutFirst) return found[index]!;
          const [expert, rest] = [Math.floor(index / (inputs * outputs)), index % (inputs * outputs)];
          return found[expert * inputs * outputs + (rest % inputs) * outputs + Math.floor(rest / inputs)]!;
        });
        expect(back).toEqual(data);
        expect(await weightsOf(model, 'experts.up_bias')).toEqual(bias);
      }
      expect(data).not.toEqual(numbers);
    },
  );

  test.each([['column'], [Granularity.spanning('out')], [Granularity.block({ out: 2 * outputs })]])(
    'A unit that extends over several experts is an error: %j',
    async (granularity) => {
      for (const isOutFirst of [true, false]) {
        using model = await readSafetensors(fileOf(isOutFirst), { layers: described(isOutFirst) });
        const sparsifier = new Sparsifier(model, { granularity: granularity as 'column', layerType: 'all' });
        const error = await errorOf(() => sparsifier.sparsifyModel(50));
        expect(error).toMatchObject({
          code: 'granularity',
          message: expect.stringMatching(/experts\.up: .*3 matrices of 5 outputs each.*row/),
        });
      }
    },
  );
});

describe('accounting', () => {
  const floats = ['F64', 'F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2'];
  const bytes: Record<string, number> = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4 };
  const name = fc
    .array(
      fc.constantFrom(
        'h',
        '0',
        'experts',
        'w1',
        'w2',
        'gate',
        'norm',
        'fc',
        'c_attn',
        'embed',
        'up_proj',
        'down_proj',
        'rnn',
      ),
      { minLength: 1, maxLength: 4 },
    )
    .chain((parts) =>
      fc
        .constantFrom('.weight', '.bias', '_bias', '', '.weight_ih_l0', '.weight_hh_l0')
        .map((end) => parts.join('.') + end),
    );
  const tensor = fc.record({
    name,
    dtype: fc.constantFrom(...floats, 'F32', 'F32', 'I64', 'I32', 'U8', 'BOOL'),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 6 }),
  });

  test('Each number of the float tensors with two or more axes is in a layer or in a skipped tensor', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(tensor, { selector: (each) => each.name, maxLength: 12 }), async (tensors) => {
        const file = safetensorsFile(
          Object.fromEntries(
            tensors.map(({ name, dtype, shape }) => [
              name,
              { dtype, shape, data: new Uint8Array(product(shape) * (bytes[dtype] ?? 1)) },
            ]),
          ),
        );
        using model = await readSafetensors(file);
        const wanted = tensors.filter(({ shape, dtype }) => shape.length > 1 && floats.includes(dtype));
        const isFloat = (found: string) => wanted.some(({ name }) => name === found || name === `${found}.weight`);
        const found = [
          ...model.tensors.map(({ name, shape }) => ({ name, weights: product(shape) })),
          ...model.skipped.map(({ name, weights, shape, reason }) => {
            expect(weights).toBe(product(shape));
            expect(reason).not.toBe('');
            return { name, weights };
          }),
        ];
        const total = (list: readonly { readonly weights: number }[]) =>
          list.reduce((sum, { weights }) => sum + weights, 0);
        expect(total(found)).toBe(model.weights);
        expect(total(found.filter(({ name }) => isFloat(name)))).toBe(
          wanted.reduce((sum, { shape }) => sum + product(shape), 0),
        );
        // Integers are listed if they are named like a weight, as codes are.
        const others = model.skipped.filter(({ name }) => !isFloat(name));
        for (const { reason } of others) expect(reason).toMatch(/its type is (I64|I32|U8|BOOL)/);
      }),
      { numRuns: 300 },
    );
  });
});

describe('hostile files', () => {
  const utf8 = (text: string) => new TextEncoder().encode(text);
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  const file = (header: string, data = 0) => {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
    return concat(length, utf8(header), new Uint8Array(data));
  };

  test.each([
    ['an entry', file(`{"a":${deep}}`)],
    ['a shape', file(`{"a":{"dtype":"F32","shape":${deep},"data_offsets":[0,4]}}`, 4)],
    ['a key that is not read', file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":${deep}}}`, 4)],
    ['the metadata', file(`{"__metadata__":{"a":${deep}}}`)],
    ['an index', utf8(`{"weight_map":{"a":${deep}}}`)],
    ['a key of an index that is not read', utf8(`{"weight_map":{"a.weight":"a"},"more":${deep}}`)],
    ['a manifest', utf8(`[${deep}]`)],
    ['a key of a model.json that is not read', utf8(`{"weightsManifest":[],"more":${deep}}`)],
    [
      'a topology that is a text',
      utf8(JSON.stringify({ modelTopology: `{"class_name":"Sequential","config":${deep}}`, weightsManifest: [] })),
    ],
  ])('Nesting of thousands of levels is an error of the format: %s', async (_title, bytes) => {
    const error = await errorOf(() => readModel(bytes as Uint8Array<ArrayBuffer>));
    expect(error).toMatchObject({
      code: 'format',
      message: expect.stringMatching(/nested too deeply.*more than 100 levels/),
    });
  });

  test('Brackets in texts are not levels, and 1000 levels are read if that is the limit', async () => {
    const header = `{"${'['.repeat(5000)}\\"{\\\\":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`;
    using model = await readSafetensors(file(header, 4));
    expect(model.tensors).toEqual([]);
    const levels = 998;
    const nested = `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const bytes = utf8(`{"weight_map":{"d.weight":"s"},"more":{"a":${nested}}}`) as Uint8Array<ArrayBuffer>;
    using read = await readSafetensors(bytes, {
      shards: () => safetensorsFile({ 'd.weight': [3, 2] }),
      limits: { depth: 1000 },
    });
    expect(await read.bytes()).toEqual(bytes);
  });

  test('Names of a million characters are read', async () => {
    for (const [part, end] of [
      ['weight_ih', '.weight_ih_l0'],
      ['norm', '.weight'],
      ['weight.', 'weight'],
      ['.', 'weight'],
      ['_emb', '.weight'],
      ['experts.', 'w1'],
      ['weight_ih_l1', '_reverse'],
    ] as const) {
      const name = part.repeat(1_000_000 / part.length) + end;
      using model = await readSafetensors(safetensorsFile({ [name]: [2, 2] }));
      expect(model.tensors.length + model.skipped.length).toBe(1);
    }
  });

  test('An index of shards that are pages or pointers names the shard', async () => {
    for (const [content, found] of [
      ['<!DOCTYPE html><title>Sign in</title>', /Download the file itself/],
      ['version https://git-lfs.github.com/spec/v1\noid sha256:0', /Git LFS pointer.*Download the file itself/],
    ] as const) {
      const error = await errorOf(() =>
        readModel(indexOf({ 'd.weight': 'part' }), { shards: () => utf8(content) as never }),
      );
      expect(error).toMatchObject({
        code: 'format',
        details: { subject: 'part' },
        message: expect.stringMatching(found),
      });
    }
  });
});

describe('a long name takes time in proportion to its length', () => {
  const digits = '1'.repeat(200_000);
  test.each<[string, TensorsToStore, (string | RegExp)[]]>([
    ['a recurrent name', { [`${'weight_ih'.repeat(20_000)}.weight_ih_l0`]: [1, 1] }, [/number of gates is unknown/]],
    ['a layer of a recurrent name', { [`a.weight_ih_l${digits}x`]: [1, 1] }, [/no known kind of layer/]],
    ['a normalisation', { [`norm${digits}x.weight`]: [1, 1] }, ['dense out,in']],
    ['many normalisations', { [`${'norm'.repeat(50_000)}_.weight`]: [1, 1] }, ['dense out,in']],
    ['underscores', { [`${'_'.repeat(200_000)}emb.weight`]: [1, 1] }, ['embedding out,in']],
    ['lists in lists', { [`fc.${'0.'.repeat(100_000)}weight`]: [1, 1] }, ['dense out,in']],
    ['experts', { [`${digits}.experts.gate_proj.weight`]: [1, 1, 1] }, [/name is that of experts/]],
  ])('A file is read whose tensor has a long name: %s', async (_title, tensors, expected) => {
    const found = Object.values(await readTensors(tensors));
    expect(found).toHaveLength(expected.length);
    expected.forEach((each, index) => expect(found[index]).toMatch(each));
  });
});
