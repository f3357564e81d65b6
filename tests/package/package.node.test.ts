import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { namesIn, run } from '../support/command.js';
import { installTarball, manifestIn, packageFolder, root, type Manifest, type Packed } from '../support/install.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { brokenLinks, guidesIn } from '../support/texts.js';

const docs = (await namesIn(join(root, 'docs'))).map((name) => `docs/${name}`).filter((name) => /\.\w+$/.test(name));
const texts = ['README.md', 'LICENSE', 'CHANGELOG.md', ...docs];

let folder: string;
let packed: Packed;
let manifest: Manifest;
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => {
  ({ folder, packed } = await installTarball());
  manifest = await manifestIn(at('node_modules', 'sparsifier'));
  await writeFile(
    at('model.onnx'),
    model({ nodes: [node('Conv', 'x w', 'y', { name: 'conv' })], initializers: [tensor('w', [4, 1, 1, 1])] }),
  );
}, 240_000);
afterAll(() => rm(folder, { recursive: true }));

describe('the tarball', () => {
  const paths = () => packed.files.map(({ path }) => path);

  test('The tarball contains one wasm file, which is small', () => {
    const binaries = packed.files.filter(({ path }) => path.endsWith('.wasm'));
    expect(binaries.map(({ path }) => path)).toEqual(['dist/wasm/sparsifier_wasm_bg.wasm']);
    expect(binaries[0]!.size).toBeLessThan(300_000);
  });

  test('The tarball contains the texts of the root and the docs with their pictures, and packing leaves no copies behind', async () => {
    expect(docs).toContain('docs/pictures/weight.svg');
    expect(paths()).toEqual(expect.arrayContaining(texts));
    for (const name of texts) {
      expect(await readFile(at('node_modules', 'sparsifier', name), 'utf8')).toBe(
        await readFile(join(root, name), 'utf8'),
      );
      expect(existsSync(join(packageFolder, name))).toBe(false);
    }
    expect(existsSync(join(packageFolder, 'docs'))).toBe(false);
  });

  test('No link in the texts of the tarball leads to a missing file', () => {
    const installed = at('node_modules', 'sparsifier');
    expect(guidesIn(installed)).toEqual(guidesIn(root));
    for (const name of [...guidesIn(installed), 'CHANGELOG.md']) expect(brokenLinks(installed, name)).toEqual([]);
  });

  test('The tarball contains only these texts, modules, their types, the wasm and the schema of recipes', () => {
    const inPackage = ['package.json', 'THIRD-PARTY-NOTICES', 'recipe.schema.json'];
    expect(paths()).toEqual(expect.arrayContaining(inPackage));
    const others = paths().filter((path) => !texts.includes(path) && !inPackage.includes(path));
    for (const path of others) expect(path).toMatch(/^dist\/[\w/-]+(\.js|\.d\.ts|_bg\.wasm)$/);
    expect(paths().filter((path) => /test|oracle|\.map$|(^|\/)src\//.test(path))).toEqual([]);
  });

  test('Every export has a file, and every entry point has types', () => {
    const {
      '.': main,
      './file': file,
      './formats': formats,
      './formats/onnx': onnx,
      './formats/safetensors': safetensors,
      './formats/tfjs': tfjs,
      './training': training,
      './calibration': calibration,
      './fit': fit,
      './quantize': quantize,
      './removal': removal,
      './report': report,
      './sensitivity': sensitivity,
      './compare': compare,
      './catalogue': catalogue,
      './formats/arrays': arrays,
      './package.json': own,
      ...files
    } = manifest.exports;
    expect(own).toBe('./package.json');
    for (const targets of [
      main,
      file,
      formats,
      onnx,
      safetensors,
      tfjs,
      training,
      calibration,
      fit,
      quantize,
      removal,
      report,
      sensitivity,
      compare,
      catalogue,
      arrays,
    ])
      expect(Object.keys(targets!)[0]).toBe('types');
    expect(Object.keys(files)).toEqual(['./sparsifier.wasm', './thread', './recipe.schema.json']);
    const targets = Object.values(manifest.exports).flatMap((each) =>
      typeof each === 'string' ? each : Object.values(each),
    );
    for (const target of targets) expect(paths()).toContain(target.slice(2));
    const modules = paths().filter((path) => /^dist\/(?!wasm).+\.js$/.test(path));
    expect(paths()).toEqual(expect.arrayContaining(modules.map((path) => path.replace(/\.js$/, '.d.ts'))));
  });

  test('Only the command line needs a host with `Symbol.dispose`, which some browsers lack', async () => {
    const modules = paths().filter((path) => /^dist\/.+\.js$/.test(path));
    const needing: string[] = [];
    for (const path of modules) {
      const text = await readFile(at('node_modules', 'sparsifier', path), 'utf8');
      if (/__addDisposableResource|^\s*(await )?using /m.test(text)) needing.push(path);
    }
    expect(needing).toContain('dist/cli/inspect.js');
    expect(needing.filter((path) => !path.startsWith('dist/cli/'))).toEqual([]);
  });

  test('The tarball depends only on published versions', () => {
    for (const version of Object.values(manifest.dependencies ?? {})) expect(version).toMatch(/^[\^~]?\d+\.\d+\.\d+$/);
  });
});

describe('installed in Node', () => {
  test('The installed package has a command', async () => {
    const bin =
      process.platform === 'win32'
        ? ['cmd.exe', '/d', '/c', at('node_modules', '.bin', 'sparsifier.cmd')]
        : [at('node_modules', '.bin', 'sparsifier')];
    const [program, ...before] = bin as [string, ...string[]];
    expect((await run(program, [...before, '--version'], { cwd: folder })).stdout).toBe(`${manifest.version}\n`);
    const { code, stdout } = await run(
      program,
      [...before, 'prune', 'model.onnx', '-s', '50', '-o', 'by-command.onnx', '--json'],
      { cwd: folder },
    );
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ total: { zeros: 2, weights: 4 } });
    expect((await stat(at('by-command.onnx'))).size).toBe((await stat(at('model.onnx'))).size);
  });

  test('A program that imports the installed package ends on its own', async () => {
    await writeFile(
      at('program.js'),
      `
      import { Granularity, loadEngine, Sparsifier } from 'sparsifier';
      import { fromArrays } from 'sparsifier/formats/arrays';
      import { readOnnx } from 'sparsifier/formats/onnx';

      const options = { granularity: Granularity.weight, context: 'local', criteria: 'largeFinal' };
      const onnx = await readOnnx('model.onnx');
      const { total } = await new Sparsifier(onnx, options).sparsifyModel(50);
      await onnx.write('by-program.onnx');
      const data = Float32Array.of(1, -2, 3, -4);
      const arrays = fromArrays({ w: { kind: 'dense', roles: ['in', 'out'], shape: [2, 2], data } });
      await new Sparsifier(arrays, { ...options, layerType: 'dense' }).sparsifyModel(25);
      const { threads, why } = await loadEngine();
      console.log(JSON.stringify({ total, data: [...data], threads, why }));
    `,
    );
    const { code, stdout, stderr } = await run(process.execPath, ['program.js'], { cwd: folder });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      total: { zeros: 2 },
      data: [0, -2, 3, -4],
      threads: expect.any(Number),
    });
    expect(existsSync(at('by-program.onnx'))).toBe(true);
  });

  test('The wasm and the thread file are loaded from given URLs', async () => {
    await writeFile(
      at('addresses.js'),
      `
      import { copyFile } from 'node:fs/promises';
      import { loadEngine } from 'sparsifier';

      const wasm = new URL('elsewhere.wasm', import.meta.url);
      await copyFile(new URL(import.meta.resolve('sparsifier/sparsifier.wasm')), wasm);
      const { threads } = await loadEngine({ threads: 2, wasm, thread: import.meta.resolve('sparsifier/thread') });
      console.log(threads);
    `,
    );
    expect(await run(process.execPath, ['addresses.js'], { cwd: folder })).toEqual({
      code: 0,
      stdout: '2\n',
      stderr: '',
    });
  });

  test('Internal modules cannot be imported', async () => {
    const { code, stderr } = await run(process.execPath, ['-e', `import('sparsifier/dist/internal.js')`], {
      cwd: folder,
    });
    expect(code).not.toBe(0);
    expect(stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  test.each([
    ['nodenext', 'nodenext'],
    ['bundler', 'esnext'],
  ])('The installed package has types with module resolution %s', async (moduleResolution, module) => {
    const consumer = at(moduleResolution);
    await mkdir(consumer);
    await writeFile(
      join(consumer, 'consumer.ts'),
      `
      import { Criteria, Granularity, Sparsifier, SparsifyError, type ErrorCode, type Model, type Report } from 'sparsifier';
      import { fromArrays } from 'sparsifier/formats/arrays';
      import { readModel, type FileModel, type ReadModelOptions } from 'sparsifier/formats';
      import { readOnnx } from 'sparsifier/formats/onnx';
      import { readSafetensors, type LayerDescriptions } from 'sparsifier/formats/safetensors';
      import { readTfjs } from 'sparsifier/formats/tfjs';
      import { calibrate, type Statistics } from 'sparsifier/calibration';
      import { dequantize, quantize, type QuantizeReport } from 'sparsifier/quantize';
      import { fit, type FitPoint, type FitReport } from 'sparsifier/fit';
      import { planRemoval, removeChannels, type RemovalPlan, type RemovalReport } from 'sparsifier/removal';
      import { sparsifyFile, type SparsifyFileOptions } from 'sparsifier/file';

      const layers: LayerDescriptions = { '*.c_attn': { kind: 'dense', roles: ['in', 'out'] }, head: false };
      const shards = (name: string) => new Blob([name]);
      export const twin: FileModel & Model = await readSafetensors(new Blob([]), { layers, shards });
      const onnx: FileModel = await readOnnx(new Blob([]));
      const reading: ReadModelOptions = { layers, shards };
      const any: FileModel = await readModel(new Blob([]), reading);
      const model: Model = any;
      const words = { granularity: Granularity.filter, context: 'global', criteria: Criteria.largeFinal } as const;
      const sparsifier = new Sparsifier(model, words);
      const report: Report = await sparsifier.sparsifyModel({ 'encoder.*': 50, head: { keep: 2 } }, { roundTo: 8 });
      const asked: SparsifyFileOptions = { ...words, sparsity: 50, roundTo: 8, layers, shards };
      const streamed: Report = await sparsifyFile(new Blob([]), new WritableStream<Uint8Array>(), asked);
      await sparsifyFile('model.onnx', (name: string) => new WritableStream<Uint8Array>(), { ...asked, force: streamed.notes.length > 0 });
      const zeros: number = report.total.zeros + report.layers[0]!.zeros;
      const bytes: Uint8Array = await onnx.bytes();
      const quantised: { model: FileModel; report: QuantizeReport } = await quantize(onnx, { weights: 'int8', rules: { exclude: 'head' } });
      await (await dequantize(quantised.model)).model.toFiles();
      const fitted: { model: FileModel; curve: readonly FitPoint[]; report: FitReport } = await fit(onnx, { target: '3MB', evaluate: async (files, { part }) => files.size + part.length });
      new Blob([...(await fitted.model.toFiles()).values()]);
      const plan: RemovalPlan = await planRemoval(onnx, { inputShapes: { x: [1, 3, 48, 320] }, protect: ['head*'], roundTo: 4 });
      const shrunk: { model: FileModel; report: RemovalReport } = await removeChannels(onnx, plan, { flushSubnormals: true });
      const stayed: readonly (readonly number[] | undefined)[] = shrunk.report.indexMap[0]!.kept;
      // @ts-expect-error the options of a plan are not those of a removal
      await removeChannels(onnx, plan, { roundTo: stayed.length });
      const data = new Float32Array(bytes.length);
      fromArrays({ w: { kind: 'dense', roles: ['out', 'in'], shape: [1, zeros], data } });
      export const codeOf = (error: SparsifyError): ErrorCode => error.code;

      // Bytes are never shared, so that all of them make a Blob.
      const tfjs: FileModel = await readTfjs(new Blob([]));
      for (const each of [onnx, twin, tfjs]) new Blob([await each.bytes(), ...(await each.toFiles()).values()]);
      for (const { values } of model.tensors) new Blob([await model.copy(values), await onnx.copy(values), await twin.copy(values), await tfjs.copy(values)]);
      new Blob([sparsifier.mask('head').data, ...[...sparsifier.masks().values()].map(({ data }) => data)]);
      await sparsifier.saveMasks(new WritableStream({ write: (chunk) => void new Blob([chunk]) }));
      await sparsifyFile(new Blob([]), () => new WritableStream({ write: (chunk) => void new Blob([chunk]) }), asked);
      const createSession = async (bytes: Uint8Array<ArrayBuffer>) => ({ run: async () => ({ y: new Blob([bytes]) as never }) });
      const statistics: Statistics = await calibrate(onnx, { createSession, batches: () => [] });
      await statistics.write('statistics.safetensors', { force: true });

      // @ts-expect-error no such granularity
      new Sparsifier(model, { granularity: 'corner', context: 'local', criteria: 'largeFinal' });
      new Sparsifier(model);
      new Sparsifier(model, { context: 'global', rankTogether: { encoder: ['enc*'] }, granularity: { block: { in: 4 } } });
      // @ts-expect-error no such option
      new Sparsifier(model, { context: 'global', groups: { encoder: ['enc*'] } });
      // @ts-expect-error no such context
      new Sparsifier(model, { context: 'layer' });
      // @ts-expect-error nothing is left to restore
      await sparsifyFile('in', 'out', { ...asked, restorable: true });
      // @ts-expect-error an amount is a number
      await sparsifier.sparsifyLayer('head', 'half');
    `,
    );
    const compilerOptions = {
      module,
      moduleResolution,
      target: 'es2022',
      strict: true,
      noEmit: true,
      types: [],
      // The package's own types are checked, too.
      skipLibCheck: false,
      lib: ['es2022', 'dom'],
    };
    await writeFile(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
    expect(await run(process.execPath, [compiler, '-p', consumer])).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('The types need none of a browser: those of Node.js are enough', async () => {
    const consumer = at('node-types');
    await mkdir(consumer);
    await cp(join(root, 'tests', 'packages', 'typescript', 'consumer.ts'), join(consumer, 'consumer.ts'));
    const compilerOptions = {
      ...{ module: 'nodenext', target: 'es2022', strict: true, noEmit: true, skipLibCheck: false },
      ...{ lib: ['es2022'], types: ['node'], typeRoots: [join(root, 'node_modules', '@types')] },
    };
    await writeFile(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
    expect(await run(process.execPath, [compiler, '-p', consumer])).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});
