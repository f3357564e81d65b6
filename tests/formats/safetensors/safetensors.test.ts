import fc from 'fast-check';
import { loadEngine, Sparsifier, SparsifyError, type Model, type SparsifierOptions, type Values } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import {
  readSafetensors,
  type LayerDescription,
  type LayerDescriptions,
  type ReadSafetensorsOptions,
  type FileModel,
} from 'sparsifier/formats/safetensors';
import { describe, expect, test } from 'vitest';
import { differsAt } from '../../support/bytes.js';
import { channelsOf, errorOf, layouts, product, values, weightwise } from '../../support/layers.js';
import { model as onnxModel, node, rawNumbers, tensor as onnxTensor } from '../../support/onnx-builder.js';
import {
  indexOf,
  safetensorsFile,
  shardedFiles,
  type TensorsToStore,
  type TensorToStore,
} from '../../support/safetensors-builder.js';
import { furtherFiles } from '../../support/model-files.js';

/** Reads a model, uses it, and closes it. */
async function withModel<Result>(
  source: Parameters<typeof readSafetensors>[0],
  use: (read: FileModel) => Result | Promise<Result>,
  options?: ReadSafetensorsOptions,
): Promise<Result> {
  using read = await readSafetensors(source, options);
  return await use(read);
}

const layersOf = (tensors: TensorsToStore, layers?: LayerDescriptions) =>
  withModel(safetensorsFile(tensors), ({ tensors, skipped }) => ({ tensors, skipped }), layers && { layers });

const text = (content: string) => new TextEncoder().encode(content);

/** The bytes of an array of a model. */
async function numbersOf(read: Model, values: Values): Promise<Uint8Array> {
  const region = await read.load(await loadEngine(), values);
  const bytes = await region.block.read(region.offset, new Uint8Array(region.bytes));
  region.release();
  return bytes;
}

/** Sets the numbers at some indices to zero, as a sparsifier does. */
async function zero(read: Model, values: Values, indices: readonly number[]): Promise<void> {
  const engine = await loadEngine();
  const region = await read.load(engine, values);
  const bytes = await region.block.read(region.offset, new Uint8Array(region.bytes));
  const size = region.bytes / values.length;
  for (const index of indices) bytes.fill(0, index * size, (index + 1) * size);
  await region.block.write(bytes, region.offset);
  await read.store(engine, values, region);
  region.release();
}

describe('kinds', () => {
  const spatial = ['depth', 'height', 'width'];
  const cases: [name: string, shape: number[], kind: string, others?: TensorsToStore][] = [
    ['conv.weight', [4, 3, 5], 'conv1d'],
    ['features.0.weight', [4, 3, 2, 5], 'conv2d'],
    ['embeddings.patch_embeddings.projection.weight', [4, 3, 2, 2], 'conv2d'],
    ['patch_embedding.weight', [4, 3, 2, 2], 'conv2d'],
    ['blocks.3d.weight', [4, 3, 2, 1, 5], 'conv3d'],
    ['fc.weight', [4, 3], 'dense'],
    ['model.layers.11.self_attn.q_proj.weight', [4, 3], 'dense'],
    ['lm_head.weight', [9, 3], 'dense'],
    ['weight', [4, 3], 'dense'],
    ['attn.in_proj_weight', [12, 4], 'dense'],
    ['attn.k_proj_weight', [4, 3], 'dense'],
    ['model.embed_tokens.weight', [9, 4], 'embedding'],
    ['model.decoder.embed_tokens.0.weight', [9, 4], 'embedding'],
    ['bert.embeddings.word_embeddings.weight', [9, 4], 'embedding'],
    ['bert.embeddings.position_embeddings.weight', [9, 4], 'embedding'],
    ['bert.embeddings.token_type_embeddings.weight', [2, 4], 'embedding'],
    ['text_model.embeddings.token_embedding.weight', [9, 4], 'embedding'],
    ['transformer.wte.weight', [9, 4], 'embedding'],
    ['wpe.weight', [9, 4], 'embedding'],
    ['shared.weight', [9, 4], 'embedding'],
    ['encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight', [9, 4], 'embedding'],
    ['gpt_neox.embed_in.weight', [9, 4], 'embedding'],
    ['tok_embeddings.weight', [9, 4], 'embedding'],
    ['encoder.embed_positions.weight', [9, 4], 'embedding'],
    ['tokens_embed.weight', [9, 4], 'embedding'],
    ['backbone.embedding.weight', [9, 4], 'embedding'],
    ['tok_emb.weight', [9, 4], 'embedding'],
    ['embed.weight', [9, 4], 'embedding'],
    // Dense layers whose names have to do with embeddings.
    ['embed_out.weight', [9, 4], 'dense'],
    ['token_embedding_projection.weight', [9, 4], 'dense'],
    ['x_embedder.weight', [9, 4], 'dense'],
    ['embeddings.dense.weight', [9, 4], 'dense'],
    ['mlp.shared_expert.up_proj.weight', [9, 4], 'dense'],
    ['time_embed.0.weight', [9, 4], 'dense', { 'time_embed.0.bias': [9] }],
    ['class_embed.weight', [9, 4], 'dense', { 'class_embed.bias': [9] }],
    ['rnn.weight_hh_l0', [20, 5], 'lstm'],
    ['rnn.weight_hh_l1_reverse', [15, 5], 'gru'],
    ['cell.weight_hh', [20, 5], 'lstm'],
    ['weight_hh_l0', [15, 5], 'gru'],
    ['rnn.weight_hh_l0', [5, 5], 'rnn'],
  ];
  test.each(cases)('A tensor named %s with the shape %j has the kind %s', async (name, shape, kind, others = {}) => {
    const { tensors, skipped } = await layersOf({ [name]: shape, ...others });
    expect(skipped).toEqual([]);
    const roles = ['out', 'in', ...spatial.slice(5 - shape.length)];
    expect(tensors).toMatchObject([{ kind, roles, shape, groups: 1, values: { dtype: 'float32' } }]);
    expect(tensors[0]!.values.length).toBe(product(shape));
  });

  test('The kind of both recurrent weights follows from the hidden-to-hidden weight', async () => {
    const { tensors, skipped } = await layersOf({
      'lstm.weight_ih_l0': [20, 3],
      'lstm.weight_hh_l0': [20, 5],
      'lstm.weight_ih_l0_reverse': [20, 4],
      'lstm.weight_hh_l0_reverse': [20, 5],
      'gru.weight_ih_l12': [15, 5],
      'gru.weight_hh_l12': [15, 5],
    });
    expect(tensors.map(({ name, kind }) => [name, kind])).toEqual([
      ['lstm.weight_ih_l0', 'lstm'],
      ['lstm.weight_hh_l0', 'lstm'],
      ['lstm.weight_ih_l0_reverse', 'lstm'],
      ['lstm.weight_hh_l0_reverse', 'lstm'],
      ['gru.weight_ih_l12', 'gru'],
      ['gru.weight_hh_l12', 'gru'],
    ]);
    expect(skipped).toEqual([]);
  });
});

describe('what is not pruned', () => {
  const cases: [title: string, tensors: TensorsToStore, reason: RegExp][] = [
    ['weights of other types', { 'fc.weight': { dtype: 'F64', shape: [2, 3] } }, /type is F64; only F32, F16 and BF16/],
    ['quantised weights', { 'fc.weight': { dtype: 'I8', shape: [2, 3] } }, /type is I8/],
    ['packed weights', { 'fc.qweight': { dtype: 'I32', shape: [2, 3] } }, /type is I32/],
    ['eight-bit floats', { 'fc.weight': { dtype: 'F8_E4M3', shape: [2, 3] } }, /type is F8_E4M3/],
    ['weights of an unknown type', { 'fc.weight': { dtype: 'Q5', shape: [2, 3] } }, /type is Q5/],
    ['an empty tensor', { 'fc.weight': [0, 3] }, /empty/],
    ['a weight with too many axes', { 'conv.weight': [1, 2, 1, 2, 1, 2] }, /weight with 6 axes/],
    [
      'a weight with another name',
      { 'mlp.experts.gate_up_proj': [2, 3, 4] },
      /name is that of experts, and nothing tells.*layers option \(--layer\): as dense, .*dense:out,in,multiplier/,
    ],
    ['weights to be scaled', { 'fc.weight_v': [2, 3] }, /of this name/],
    ['normalisations of several axes', { 'attn.q_norm.weight': [2, 3] }, /normalisation/],
    ['a tensor with another name', { 'attn.table': [2, 3] }, /of this name; describe it with the layers option/],
    ['a bias with two axes', { 'fc.bias': [2, 3] }, /named like a bias/],
    ['a cell with two gates', { 'rnn.weight_hh_l0': [10, 5] }, /10 x 5.*4 gates of an LSTM, 3 of a GRU or an RNN/],
    ['an LSTM with projections', { 'rnn.weight_hh_l0': [20, 3] }, /20 x 3.*3 hidden units/],
    ['a recurrent weight without the other one', { 'rnn.weight_ih_l0': [20, 3] }, /without 'rnn\.weight_hh_l0'/],
    ['recurrent weights of three axes', { 'rnn.weight_hh_l0': [4, 1, 2] }, /4 x 1 x 2/],
  ];
  test.each(cases)('The reason for not pruning %s is given', async (_title, given, reason) => {
    const { tensors, skipped } = await layersOf(given);
    const [[name, tensor]] = Object.entries(given) as [[string, TensorToStore | number[]]];
    const { shape } = 'shape' in tensor ? tensor : { shape: tensor };
    expect(tensors).toEqual([]);
    expect(skipped).toEqual([
      { name: name.replace(/\.weight$/, ''), reason: expect.stringMatching(reason), shape, weights: product(shape) },
    ]);
  });

  test('Normalisations, biases, scalars and integers are not weights', async () => {
    const others: TensorsToStore = {
      'norm.weight': [4],
      'norm.bias': [4],
      'bn.running_mean': [4],
      'bn.num_batches_tracked': { dtype: 'I64', shape: [] },
      logit_scale: [],
      'embeddings.position_ids': { dtype: 'I64', shape: [1, 9] },
      'attn.mask': { dtype: 'BOOL', shape: [3, 3] },
    };
    expect(await layersOf(others)).toEqual({ tensors: [], skipped: [] });
  });

  test('A file can be without tensors', async () => {
    expect(await layersOf({})).toEqual({ tensors: [], skipped: [] });
  });
});

describe('names', () => {
  test('A layer has the name of its module, and its full name is an alias', async () => {
    const bytes = safetensorsFile({ 'conv1.weight': [4, 1, 1, 2], 'rnn.weight_hh_l0': [4, 1] });
    await withModel(bytes, async (read) => {
      expect(read.tensors.map(({ name, aliases }) => ({ name, aliases }))).toEqual([
        { name: 'conv1', aliases: ['conv1.weight'] },
        { name: 'rnn.weight_hh_l0', aliases: [] },
      ]);
      const sparsifier = new Sparsifier(read, { ...weightwise, granularity: 'filter' });
      await sparsifier.sparsifyLayer('conv1', 25);
      await sparsifier.sparsifyLayer('conv1.weight', 50);
      expect([...sparsifier.mask('conv1').data]).toEqual([0, 0, 1, 1]);
    });
  });

  test('A layer keeps its full name if a tensor has the name of the module', async () => {
    const { tensors, skipped } = await layersOf({
      'a.weight': [2, 3],
      a: [2, 3],
      'b.weight.weight': [2, 3],
      'b.weight': [2, 3],
      'c.weight': [2, 3],
      c: { dtype: 'I64', shape: [] },
      'd.weight': [2, 3],
    });
    expect(tensors.map(({ name }) => name)).toEqual(['a.weight', 'b.weight.weight', 'b', 'c.weight', 'd']);
    expect(skipped.map(({ name }) => name)).toEqual(['a']);
  });

  test('Layers are in the order of the bytes, not of the header', async () => {
    const one = safetensorsFile({ 'a.weight': [1, 1], 'b.weight': [1, 1] });
    const header = text(
      '{"b.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]},' +
        '"a.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}',
    );
    const other = one.slice();
    expect(header.length).toBe(other.length - 16);
    other.set(header, 8);
    const names = ({ tensors }: Model) => tensors.map(({ name }) => name);
    expect(await withModel(other, names)).toEqual(['a', 'b']);
  });
});

describe('the option layers', () => {
  const tensors: TensorsToStore = {
    'h.0.attn.c_attn.weight': [2, 6],
    'h.0.attn.c_attn.bias': [6],
    'h.0.mlp.c_fc.weight': [2, 8],
    'up.weight': [4, 3, 2, 2],
    'up.bias': [6],
    'depthwise.weight': [4, 1, 3],
    'experts.gate': [2, 3, 4],
    'norm.weight': [4],
  };
  const described = async (layers: LayerDescriptions) => {
    const found = await layersOf(tensors, layers);
    return Object.fromEntries(
      found.tensors.map(({ name, kind, roles, groups, partners }) => [
        name,
        { kind, roles: roles.join(' '), groups, biases: partners.length },
      ]),
    );
  };
  const dense = { kind: 'dense', roles: 'out in', groups: 1, biases: 0 };
  const usual = {
    'h.0.attn.c_attn': { ...dense, roles: 'in out', biases: 1 },
    'h.0.mlp.c_fc': { ...dense, roles: 'in out' },
    up: { kind: 'conv2d', roles: 'out in height width', groups: 1, biases: 0 },
    depthwise: { kind: 'conv1d', roles: 'out in width', groups: 1, biases: 0 },
  };

  const outIn: LayerDescription = { kind: 'dense', roles: ['out', 'in'] };
  test.each<[title: string, layers: LayerDescriptions, expected: object]>([
    ['no tensor', {}, {}],
    ['roles', { 'h.0.attn.c_attn': outIn }, { 'h.0.attn.c_attn': dense }],
    ['roles by the full name', { 'h.0.mlp.c_fc.weight': outIn }, { 'h.0.mlp.c_fc': dense }],
    ['roles by a glob', { '*.c_*': outIn }, { 'h.0.attn.c_attn': dense, 'h.0.mlp.c_fc': dense }],
    [
      'a tensor by a name, which takes precedence over a glob',
      { '*.c_*': outIn, 'h.0.mlp.c_fc': { kind: 'embedding' } },
      { 'h.0.attn.c_attn': dense, 'h.0.mlp.c_fc': { ...dense, kind: 'embedding' } },
    ],
    [
      'transposed convolutions, whose groups divide their inputs',
      { up: { kind: 'convTranspose2d', groups: 2 } },
      { up: { kind: 'convTranspose2d', roles: 'in out height width', groups: 2, biases: 1 } },
    ],
    [
      'experts, which come first',
      { 'experts.*': { kind: 'dense' } },
      { 'experts.gate': { kind: 'dense', roles: 'out multiplier in', groups: 1, biases: 0 } },
    ],
    [
      'groups',
      { depthwise: { kind: 'conv1d', groups: 4 } },
      { depthwise: { kind: 'conv1d', roles: 'out in width', groups: 4, biases: 0 } },
    ],
    [
      'a tensor that is not named like a weight',
      { 'experts.*': { kind: 'conv1d' } },
      { 'experts.gate': { kind: 'conv1d', roles: 'out in width', groups: 1, biases: 0 } },
    ],
    [
      'tensors to exclude',
      { up: false, 'h.*': false },
      { up: undefined, 'h.0.attn.c_attn': undefined, 'h.0.mlp.c_fc': undefined },
    ],
    [
      'one tensor among those that a glob excludes',
      { '*': false, up: { kind: 'conv2d' } },
      { 'h.0.attn.c_attn': undefined, 'h.0.mlp.c_fc': undefined, depthwise: undefined },
    ],
  ])('The option layers can describe %s', async (_title, layers, expected) => {
    const wanted: Record<string, unknown> = { ...usual, ...expected };
    for (const name of Object.keys(wanted)) if (wanted[name] === undefined) delete wanted[name];
    expect(await described(layers)).toEqual(wanted);
  });

  test('An excluded tensor is listed as skipped', async () => {
    const { skipped } = await layersOf(tensors, { up: false, 'experts.gate': { kind: 'conv1d' } });
    expect(skipped).toMatchObject([{ name: 'up', reason: 'it is excluded by the layers option', weights: 48 }]);
  });

  test('The option layers does not make tensors of other types prunable', async () => {
    const { skipped } = await layersOf({ 'fc.weight': { dtype: 'I8', shape: [2, 3] } }, { fc: { kind: 'dense' } });
    expect(skipped).toMatchObject([{ name: 'fc', reason: expect.stringMatching(/I8/) }]);
  });

  test.each<[title: string, layers: unknown, code: string, message: RegExp]>([
    ['an unknown name', { down: false }, 'layer', /given: down.*allowed: h\.0\.attn\.c_attn/],
    ['a glob that matches nothing', { 'x.*': false }, 'layer', /x\.\*/],
    ['a tensor that is not a weight', { norm: false }, 'layer', /norm/],
    ['an unknown kind', { up: { kind: 'conv9d' } }, 'kind', /up.*conv9d.*conv2d/],
    [
      'a kind that has other axes',
      { up: { kind: 'dense' } },
      'format',
      /up.*different role.*\["out","in"\].*\[4, 3, 2, 2\]/,
    ],
    ['roles that do not fit the axes', { up: { kind: 'conv2d', roles: ['out', 'in'] } }, 'format', /different role/],
    ['a duplicate role', { 'h.0.mlp.c_fc': { kind: 'dense', roles: ['out', 'out'] } }, 'format', /different role/],
    [
      'an unknown role',
      { 'h.0.mlp.c_fc': { kind: 'dense', roles: ['out', 'up'] } },
      'format',
      /different role.*allowed: out/,
    ],
    ['no output role', { 'h.0.mlp.c_fc': { kind: 'dense', roles: ['width', 'in'] } }, 'format', /role 'out'/],
    ['groups that do not fit', { up: { kind: 'conv2d', groups: 3 } }, 'format', /groups 3.*\[4, 3, 2, 2\]/],
    ['a fraction of a group', { up: { kind: 'conv2d', groups: 1.5 } }, 'format', /groups 1\.5/],
    ['an unknown key', { up: { kind: 'conv2d', role: [] } }, 'usage', /up.*\{ kind, roles, groups \}/],
    ['true', { up: true }, 'usage', /false to exclude it/],
    ['null', { up: null }, 'usage', /up/],
    ['a string as a description', { up: 'conv2d' }, 'usage', /up/],
    ['roles as a string', { up: { kind: 'dense', roles: 'in,out' } }, 'usage', /up/],
    ['two globs that disagree', { 'h*': false, '*c_fc': outIn }, 'sparsity', /h\.0\.mlp\.c_fc.*h\* and \*c_fc/],
  ])('The option layers with %s is an error', async (_title, layers, code, message) => {
    const error = await errorOf(() => layersOf(tensors, layers as LayerDescriptions));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});

describe('biases', () => {
  const cases: [title: string, tensors: TensorsToStore, dtype: string | undefined, leak?: string][] = [
    ['of a convolution', { 'c.weight': [4, 3, 2, 2], 'c.bias': [4] }, 'float32'],
    ['of a dense layer, stored before its weight', { 'c.bias': [4], 'c.weight': [4, 3] }, 'float32'],
    ['of another type', { 'c.weight': [4, 3], 'c.bias': { dtype: 'BF16', shape: [4] } }, 'bfloat16'],
    ['without a module', { weight: [4, 3], bias: [4] }, 'float32'],
    ['of attention', { 'a.in_proj_weight': [12, 4], 'a.in_proj_bias': [12] }, 'float32'],
    ['of another module', { 'c.weight': [4, 3], 'd.bias': [4] }, undefined],
    [
      'of another length',
      { 'c.weight': [4, 3], 'c.bias': [2] },
      undefined,
      'it does not have one entry per output channel',
    ],
    ['of a dense layer that is stored as (in, out)', { 'c.weight': [4, 3], 'c.bias': [3] }, 'float32'],
    [
      'with more axes',
      { 'c.weight': [4, 3], 'c.bias': { dtype: 'F32', shape: [4, 1] } },
      undefined,
      'it does not have one entry per output channel',
    ],
    ['of integers', { 'c.weight': [4, 3], 'c.bias': { dtype: 'I8', shape: [4] } }, undefined, 'its type is I8'],
  ];
  test.each(cases)('A bias is removed with its channels, or is a leak: %s', async (_title, tensors, dtype, reason) => {
    const { partners, notes, leaks } = (await layersOf(tensors)).tensors[0]!;
    expect(partners).toMatchObject(dtype ? [{ part: 'bias', values: { dtype } }] : []);
    expect(notes).toEqual([]);
    expect(leaks).toEqual(reason ? [{ name: 'c.bias', reason }] : undefined);
  });

  test('The bias of an LSTM is left alone, and a note says why', async () => {
    const [tensor] = (await layersOf({ weight_hh_l0: [4, 1], bias_hh_l0: [4] })).tensors;
    expect(tensor).toMatchObject({
      partners: [],
      notes: [expect.stringMatching(/^bias bias_hh_l0 is left alone: .*gate/)],
    });
    expect(tensor!.leaks).toBeUndefined();
  });

  test('An embedding does not have a bias', async () => {
    const { tensors } = await layersOf({ 'c.weight': [4, 3], 'c.bias': [4] }, { c: { kind: 'embedding' } });
    expect(tensors).toMatchObject([{ partners: [], notes: [] }]);
  });

  test('A bias is removed with its channel, and nothing else changes', async () => {
    const bias = new Uint8Array(Float32Array.of(-1, 2, 3, 4).buffer);
    const tensors = (weight: number[], entries: Uint8Array): TensorsToStore => ({
      'bn.weight': [4],
      'c.bias': { shape: [4], data: entries },
      'c.weight': { shape: [4, 1, 1, 2], data: new Uint8Array(Float32Array.from(weight).buffer) },
      'bn.bias': [4],
    });
    const bytes = safetensorsFile(tensors([1, 1, -5, 5, 0.5, 1, 7, 0], bias));
    await withModel(bytes, async (read) => {
      await new Sparsifier(read, { ...weightwise, granularity: 'filter' }).sparsifyModel(50);
      const gone = new Uint8Array(Float32Array.of(0, 2, 0, 4).buffer);
      expect(await read.bytes()).toEqual(safetensorsFile(tensors([0, 0, -5, 5, 0, 0, 7, 0], gone)));
    });
  });
});

describe('numbers', () => {
  const dtypes = [
    ['F32', 'float32'],
    ['F16', 'float16'],
    ['BF16', 'bfloat16'],
  ] as const;
  const alignments = [0, 1, 2, 3].flatMap((shift) => dtypes.map((types) => [...types, shift] as const));

  test.each(alignments)(
    '%s is read as %s and zeroed in place, at an offset of %i bytes',
    async (dtype, name, padding) => {
      const file = (data: Uint8Array) =>
        safetensorsFile({ before: [1], 'w.weight': { dtype, shape: [3, 4, 1], data } }, { padding });
      const numbers = rawNumbers(name, 12);
      await withModel(file(numbers), async (read) => {
        const { values } = read.tensors[0]!;
        expect(values).toMatchObject({ dtype: name, length: 12 });
        expect(await numbersOf(read, values)).toEqual(numbers);
        expect(await read.copy(values)).toEqual(numbers);
        const removed = [0, 4, 5, 11];
        await zero(read, values, removed);
        const size = numbers.length / 12;
        const left = numbers.slice();
        for (const index of removed) left.fill(0, index * size, (index + 1) * size);
        expect(await read.bytes()).toEqual(file(left));
        expect(await read.copy(values)).toEqual(left);
      });
    },
  );

  test('A copy of numbers is not a view', async () => {
    await withModel(safetensorsFile({ 'w.weight': [2, 2] }), async (read) => {
      const { values } = read.tensors[0]!;
      const copied = await read.copy(values);
      await zero(read, values, [0, 1, 2, 3]);
      expect(copied).toEqual(rawNumbers('float32', 4));
    });
  });

  test.each([0, 1, 7])(
    'A file with %i spaces after its header is the same after pruning at zero percent',
    async (padding) => {
      const bytes = safetensorsFile(
        {
          odd: { dtype: 'U8', shape: [3] },
          'c.weight': [4, 3, 2, 2],
          'c.bias': [4],
          'f.weight': { dtype: 'F16', shape: [5, 3] },
          'fp8.weight': { dtype: 'F8_E5M2', shape: [2, 2] },
          unknown: { dtype: 'Q5', shape: [7], data: Uint8Array.of(1, 2, 3) },
          nothing: [0],
          'b.weight': { dtype: 'BF16', shape: [3, 3] },
        },
        { metadata: { format: 'pt', ' ': '\n' }, padding },
      );
      await withModel(bytes, async (read) => {
        await new Sparsifier(read, { ...weightwise, granularity: 'filter' }).sparsifyModel(0);
        expect(differsAt(await read.bytes(), bytes)).toBe(-1);
        expect(await furtherFiles(read)).toEqual(new Map());
      });
    },
  );

  test('Values of another model are refused', async () => {
    await withModel(safetensorsFile({ 'w.weight': [2, 2] }), async (read) => {
      const dense = { kind: 'dense', roles: ['out'], shape: [1], data: Float32Array.of(1) } as const;
      const { values } = fromArrays({ dense }).tensors[0]!;
      expect((await errorOf(() => read.copy(values))).code).toBe('usage');
      const sharded = shardedFiles({ 's.safetensors': { 'w.weight': [2, 2] } });
      const other = { shards: (name: string) => sharded.shards[name]! };
      await withModel(
        sharded.index,
        async ({ tensors }) => {
          expect((await errorOf(() => read.copy(tensors[0]!.values))).message).toMatch(/another model/);
        },
        other,
      );
    });
  });
});

describe('the same weights as arrays', () => {
  /** Every kind in the layout of PyTorch. */
  const torch = layouts.filter(({ roles }) => roles.slice(0, 2).sort().join() === 'in,out');
  const bits = (data: Float32Array): Uint16Array =>
    Uint16Array.from(data, (value) => 0x3c00 + Math.abs(value) * 2 + (value < 0 ? 0x8000 : 0));
  const bytesOf = (data: Float32Array | Uint16Array) => new Uint8Array(data.buffer.slice(0) as ArrayBuffer);

  const dtypes = [
    ['F32', undefined],
    ['F16', 'float16'],
    ['BF16', 'bfloat16'],
  ] as const;
  const calls: [title: string, options: Partial<SparsifierOptions>][] = [
    ['weight, local', {}],
    ['row', { granularity: 'row', layerType: ['dense', 'conv1d', 'conv2d', 'embedding', 'lstm', 'gru'] }],
    ['filter, global, normalised', { granularity: 'filter', context: 'global', normalizer: 'mean' }],
    ['filter, at random', { granularity: 'filter', criteria: 'random', seed: 3 }],
  ];

  test.each(calls.flatMap((call) => dtypes.map((dtype) => [...call, ...dtype] as const)))(
    'Pruning gives the same masks and numbers as plain arrays: %s (%s, %s)',
    async (_title, options, dtype, name) => {
      const tensors: Record<string, TensorToStore> = {};
      const layers: Record<string, LayerDescription> = {};
      const arrays: Record<string, ArrayLayer> = {};
      for (const [index, layout] of torch.entries()) {
        const { title, kind, roles, shape, groups = 1 } = layout;
        const numbers = (count: number, seed: number) => {
          const data = values(count, seed, 300);
          return name ? bits(data) : data;
        };
        const data = numbers(product(shape), index + 1);
        const hasBias = !['embedding', 'lstm', 'gru'].includes(kind);
        const bias = numbers(channelsOf(layout), index + 100);
        tensors[`${title}.weight`] = { dtype, shape, data: bytesOf(data) };
        tensors[`${title}.bias`] = { dtype, shape: [bias.length], data: bytesOf(bias) };
        layers[title] = { kind, roles, groups };
        arrays[title] = { kind, roles, shape, groups, data, ...(hasBias && { bias }), ...(name && { dtype: name }) };
      }
      const words = { ...weightwise, ...options };
      const expected = new Sparsifier(fromArrays(arrays), words);
      await expected.sparsifyModel(40);
      await withModel(
        safetensorsFile(tensors),
        async (read) => {
          const sparsifier = new Sparsifier(read, words);
          const { total } = await sparsifier.sparsifyModel(40);
          expect(total.zeros).toBeGreaterThan(0);
          expect(sparsifier.masks()).toEqual(expected.masks());
          for (const [title, { data, bias }] of Object.entries(arrays)) {
            tensors[`${title}.weight`] = { ...tensors[`${title}.weight`]!, data: bytesOf(data) };
            if (bias) tensors[`${title}.bias`] = { ...tensors[`${title}.bias`]!, data: bytesOf(bias) };
          }
          expect(differsAt(await read.bytes(), safetensorsFile(tensors))).toBe(-1);
        },
        { layers },
      );
    },
  );
});

describe('shards', () => {
  const parts = {
    'model-00002-of-00002.safetensors': { 'c.bias': [4], 'd.weight': { dtype: 'F16', shape: [4, 2] } },
    'model-00001-of-00002.safetensors': { 'a.weight': [3, 2], 'c.weight': [4, 1, 2] },
  } satisfies Record<string, TensorsToStore>;
  const whole = shardedFiles(parts);
  const given = (shards: Readonly<Record<string, Uint8Array>>) => ({
    shards: (name: string) => shards[name]! as Uint8Array<ArrayBuffer>,
  });

  test.each<[string, Parameters<typeof readSafetensors>[0]]>([
    ['bytes', whole.index],
    ['a buffer', whole.index.slice().buffer],
    ['a Blob', new Blob([whole.index])],
  ])('Shards are read with their index from %s', async (_title, source) => {
    await withModel(
      source,
      async (read) => {
        expect(read.tensors.map(({ name }) => name)).toEqual(['a', 'c', 'd']);
        expect(await read.bytes()).toEqual(whole.index);
        expect(Object.fromEntries(await furtherFiles(read))).toEqual(whole.shards);
      },
      given(whole.shards),
    );
  });

  test('A bias can be in another shard than its weight', async () => {
    await withModel(
      whole.index,
      async (read) => {
        const sparsifier = new Sparsifier(read, { ...weightwise, granularity: 'filter' });
        await sparsifier.sparsifyLayer('c', 50);
        const numbers = (...list: number[]) => new Uint8Array(Float32Array.from(list).buffer);
        const expected = shardedFiles({
          ...parts,
          'model-00001-of-00002.safetensors': {
            'a.weight': [3, 2],
            'c.weight': { shape: [4, 1, 2], data: numbers(0, 0, 0, 0, 5, 6, 7, 8) },
          },
          'model-00002-of-00002.safetensors': {
            'c.bias': { shape: [4], data: numbers(0, 0, 3, 4) },
            'd.weight': { dtype: 'F16', shape: [4, 2] },
          },
        });
        expect(Object.fromEntries(await furtherFiles(read))).toEqual(expected.shards);
        expect(await read.bytes()).toEqual(whole.index);
      },
      given(whole.shards),
    );
  });

  test('Shards can be in subfolders, and can be returned as promises or Blobs', async () => {
    const { index, shards } = shardedFiles({ './x//a.safetensors': { 'w.weight': [2, 2] } });
    const asked: string[] = [];
    await withModel(index, (read) => expect(read.tensors).toHaveLength(1), {
      shards: async (name) => {
        asked.push(name);
        return new Blob([shards['./x//a.safetensors']!]);
      },
    });
    expect(asked).toEqual(['x/a.safetensors']);
  });

  test.each(['/etc/passwd', 'C:\\x', 'C:x', '..', '../x', 'a/../x', 'a\\b', 'https://x/y', 'a\0b', '', '.'])(
    'A shard with the path %j is refused',
    async (file) => {
      const error = await errorOf(() =>
        readSafetensors(indexOf({ 'w.weight': file }), { shards: () => safetensorsFile({ 'w.weight': [2, 2] }) }),
      );
      expect(error.code).toBe('file');
      expect(error.message).toContain('folder');
    },
  );

  const first = 'model-00001-of-00002.safetensors';
  test.each<
    [
      title: string,
      index: Uint8Array<ArrayBuffer>,
      shards: Record<string, Uint8Array> | undefined,
      code: string,
      message: RegExp,
    ]
  >([
    [
      'no function for the shards is given',
      whole.index,
      undefined,
      'file',
      /option external for ONNX, shards for other/,
    ],
    [
      'a shard is missing',
      whole.index,
      { [first]: whole.shards[first]! },
      'file',
      /00002-of.*missing.*returned undefined/,
    ],
    [
      'a shard is truncated',
      whole.index,
      { ...whole.shards, [first]: whole.shards[first]!.slice(0, -1) },
      'format',
      /00001.*ends inside tensor 'c\.weight'/,
    ],
    ['a shard is empty', whole.index, { ...whole.shards, [first]: new Uint8Array() }, 'format', /00001.*too short/],
    [
      'a shard is a pickle',
      whole.index,
      { ...whole.shards, [first]: text('\x80\x02}q\0and so on') },
      'format',
      /00001.*(pickle|length of a header)/,
    ],
    [
      'a shard lacks a tensor',
      whole.index,
      { ...whole.shards, [first]: safetensorsFile({ 'a.weight': [3, 2] }) },
      'format',
      /00001.*no tensor 'c\.weight', which the index lists for it/,
    ],
    [
      'a shard has an extra tensor',
      whole.index,
      { ...whole.shards, [first]: safetensorsFile({ ...parts[first], x: [1] }) },
      'format',
      /00001.*tensor 'x', which the index does not list for it/,
    ],
    [
      'a tensor lies elsewhere',
      indexOf({ 'a.weight': 'b', 'b.weight': 'a' }),
      { a: safetensorsFile({ 'a.weight': [1, 1] }), b: safetensorsFile({ 'b.weight': [1, 1] }) },
      'format',
      /no tensor 'b\.weight'/,
    ],
    ['a file is a number', indexOf({ 'a.weight': 5 }), {}, 'format', /no file for tensor 'a\.weight'.*found: 5/],
    ['the weight_map is a list', text('{"weight_map": []}'), {}, 'format', /not an index.*keys weight_map/],
    [
      'the index has no weight_map',
      text('{"architectures": [], "hidden_size": 4}'),
      {},
      'format',
      /not an index.*architectures, hidden_size.*weight_map/,
    ],
    ['the index is empty', text('{}'), {}, 'format', /not an index.*keys none/],
    ['the index is truncated', whole.index.slice(0, -10), whole.shards, 'format', /not JSON/],
    ['the index is not UTF-8', Uint8Array.of(...text('{"'), 255, ...text('": 1}     ')), {}, 'format', /not JSON/],
  ])('An error is thrown if %s', async (_title, index, shards, code, message) => {
    const error = await errorOf(() => readSafetensors(index, shards && given(shards)));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test('A single file needs no index, even if its length begins like JSON', async () => {
    const tensors = { 'w.weight': [1, 1] };
    const padding = 0x7b - (safetensorsFile(tensors).length - 12);
    const bytes = safetensorsFile(tensors, { padding });
    expect(bytes[0]).toBe('{'.charCodeAt(0));
    expect(await withModel(bytes, (read) => read.bytes())).toEqual(bytes);
  });
});

describe('files that are not complete safetensors files', () => {
  const small = safetensorsFile({ 'w.weight': [2, 2] });
  const onnx = onnxModel({ nodes: [node('MatMul', 'x w', 'y')], initializers: [onnxTensor('w', [2, 2])] });
  test.each<[title: string, bytes: Uint8Array<ArrayBuffer>, message: RegExp]>([
    ['an empty file', new Uint8Array(), /empty/],
    ['a file that is truncated in the header', small.slice(0, 20), /ends inside its header/],
    ['a file that is truncated in the data', small.slice(0, -1), /ends inside tensor 'w\.weight'/],
    ['a file with extra data', Uint8Array.of(...small, 0), /belongs to no tensor/],
    [
      'a PyTorch file',
      text('PK\x03\x04archive/data.pkl'),
      /not a safetensors file.*zip archive, as PyTorch.*npz.*Save the weights/,
    ],
    ['a pickle', Uint8Array.of(0x80, 2, ...text('}q\0X and more')), /not a safetensors file.*pickle/],
    ['a GGUF model', text('GGUF\x03\0\0\0 and more'), /not a safetensors file.*GGUF/],
    ['an ONNX model', onnx, /not a safetensors file.*an ONNX model.*readOnnx/],
    ['a NumPy array', text('\u0093NUMPY').slice(1), /NumPy array/],
    ['an HDF5 file', Uint8Array.of(0x89, ...text('HDF\r\n\x1a\n and more')), /HDF5/],
    ['a web page', text('<!DOCTYPE html><title>404</title>'), /HTML/],
    ['a Git LFS pointer', text('version https://git-lfs.github.com/spec/v1\noid sha256:0'), /Git LFS/],
    ['other text', text('These are words, and no network.'), /text that begins with "These are words/],
    ['other bytes', Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9), /length of a header/],
  ])('The error for %s says what was found', async (_title, bytes, message) => {
    const error = await errorOf(() => readSafetensors(bytes));
    expect(error.code).toBe('format');
    expect(error.message).toMatch(message);
  });

  test('readOnnx recognises a safetensors file', async () => {
    const { readOnnx } = await import('sparsifier/formats/onnx');
    const error = await errorOf(() => readOnnx(small));
    expect(error.message).toMatch(/not an ONNX model.*safetensors file.*readSafetensors/);
  });

  const rich = safetensorsFile(
    {
      'c.weight': [2, 1, 1, 1],
      'c.bias': [2],
      'r.weight_hh_l0': { dtype: 'F16', shape: [4, 1] },
      'e.embed.weight': { dtype: 'BF16', shape: [2, 1] },
      'q.weight': { dtype: 'I8', shape: [2, 1] },
    },
    { metadata: { format: 'pt' } },
  );

  /** A model or a SparsifyError, never anything else; a model is written back as it was. */
  async function survives(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    let read: FileModel;
    try {
      read = await readSafetensors(bytes, { shards: () => rich });
    } catch (error) {
      expect(error).toBeInstanceOf(SparsifyError);
      return;
    }
    for (const { values } of read.tensors) await zero(read, values, []);
    expect(await read.bytes()).toEqual(bytes);
    read.close();
  }

  test('Each truncation of a file is an error', async () => {
    await withModel(rich, ({ tensors }) => expect(tensors).toHaveLength(3));
    for (let length = 0; length < rich.length; length++) {
      expect((await errorOf(() => readSafetensors(rich.slice(0, length)))).code).toBe('format');
    }
  });

  const sharded = shardedFiles({ 's.safetensors': { 'c.weight': [2, 1, 1, 1] } }).index;
  test.each([
    ['a file', rich],
    ['an index', sharded],
  ])('With changed bytes, %s is a model or an error', async (_title, original) => {
    const change = fc.record({ at: fc.nat(original.length - 1), byte: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = original.slice();
        for (const { at, byte } of changes) bytes[at] = byte;
        await survives(bytes);
      }),
      { numRuns: 300 },
    );
  });
});

describe('memory', () => {
  const bytes = safetensorsFile({ 'w.weight': [2, 2], 'v.weight': [2, 2] });
  const sharded = shardedFiles({ a: { 'a.weight': [2, 2] }, b: { 'b.weight': [2, 2] } });

  test('The memory of a model is freed once', async () => {
    const engine = await loadEngine();
    const { blocks } = engine.memory;
    const read = await readSafetensors(bytes);
    expect(engine.memory.blocks).toBe(blocks + 1);
    const shards = await readSafetensors(sharded.index, {
      shards: (name) => sharded.shards[name]! as Uint8Array<ArrayBuffer>,
    });
    expect(engine.memory.blocks).toBe(blocks + 4);
    shards.close();
    const { values } = read.tensors[0]!;
    const region = await read.load(engine, values);
    read.close();
    read[Symbol.dispose]();
    expect(engine.memory.blocks, 'as long as numbers are worked on').toBe(blocks + 1);
    region.release();
    expect(engine.memory.blocks).toBe(blocks);
    for (const use of [
      () => read.bytes(),
      () => read.toFiles(),
      () => read.load(engine, values),
      () => read.store(engine, values, region),
      () => read.copy(values),
      () => shards.bytes(),
      () => shards.toFiles(),
    ]) {
      const error = await errorOf(use);
      expect({ code: error.code, message: error.message }).toEqual({
        code: 'usage',
        message: expect.stringMatching(/closed/),
      });
    }
  });

  test('The memory of a model is freed after an error', async () => {
    const engine = await loadEngine();
    const { blocks } = engine.memory;
    await errorOf(() => readSafetensors(bytes.slice(0, -1)));
    await errorOf(() => readSafetensors(bytes, { layers: { x: false } }));
    await errorOf(() => readSafetensors(sharded.index, { shards: () => sharded.shards['a']! }));
    await errorOf(() =>
      readSafetensors(sharded.index, { shards: (name) => (name === 'a' ? sharded.shards[name]! : bytes) }),
    );
    expect(engine.memory.blocks).toBe(blocks);
  });

  test('The bytes of a model are not shared memory, and the source is not changed', async () => {
    const source = bytes.slice();
    await withModel(source, async (read) => {
      await zero(read, read.tensors[0]!.values, [0, 1]);
      const written = await read.bytes();
      expect(written.buffer).toBeInstanceOf(ArrayBuffer);
      expect(written).not.toEqual(bytes);
      expect(source).toEqual(bytes);
    });
  });

  test.each([new Blob([bytes]), bytes.buffer, bytes])(
    'A model can be read from a Blob, a buffer or an array',
    async (source) => {
      expect(await withModel(source, (read) => read.bytes())).toEqual(bytes);
    },
  );
});
