// lib (from tsc) and wasm (from wasm-pack) -> dist, one file per module, so that an app's bundler keeps only what it uses.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const lib = join(here, 'lib');
const wasm = join(here, 'wasm');
const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
const installed = Object.keys({ ...dependencies, ...peerDependencies });

const entries = [
  'index',
  'internal',
  'file',
  'training',
  'calibration',
  'fit',
  'quantize',
  'removal',
  'report',
  'sensitivity',
  'compare',
  'catalogue',
  'formats',
  'onnx',
  'safetensors',
  'tfjs',
  'arrays',
  'cli/main',
  'host/node',
  'host/browser',
  'host/node-thread',
  'host/browser-thread',
  'host/node-compressor-thread',
  'host/browser-compressor-thread',
];

export default {
  input: Object.fromEntries(entries.map((name) => [name, join(lib, `${name}.js`)])),
  output: { dir: join(here, 'dist'), format: 'es', preserveModules: true, preserveModulesRoot: lib },
  external: (id) =>
    id === '#host' || id.startsWith('node:') || installed.some((name) => id === name || id.startsWith(`${name}/`)),
  plugins: [ownThreadPool(), keepsDynamicImports(), besideTheModules(), schemaOfRecipes()],
  onLog(level, log, handle) {
    // An import that leads nowhere is only a warning to rollup.
    handle(log.code === 'UNRESOLVED_IMPORT' ? 'error' : level, log);
  },
};

/** Answers the glue's import of wasm-bindgen-rayon's workerHelpers.js, which knows browsers only, with the project's pool. */
function ownThreadPool() {
  const found = [];
  return {
    name: 'own-thread-pool',
    resolveId(id, importer) {
      if (!/\/snippets\/wasm-bindgen-rayon-[^/]+\/src\/workerHelpers\.js$/.test(id)) return null;
      found.push(`${id} in ${importer}`);
      return join(lib, 'engine', 'pool.js');
    },
    buildEnd(error) {
      if (!error && found.length !== 1) {
        this.error(
          `wasm-bindgen-rayon's workerHelpers.js must be imported exactly once, not ${found.length} times: ${found.join(', ')}`,
        );
      }
    },
  };
}

/**
 * Makes each module that is imported with `import()` an entry. Rollup overlooks the calls of functions that are taken out
 * of such an import, `const { f } = await import(...)`, and would assume that the parameters of `f` always have the
 * values of its other calls.
 */
function keepsDynamicImports() {
  return {
    name: 'keeps-dynamic-imports',
    async resolveDynamicImport(specifier, importer) {
      const module = typeof specifier === 'string' ? await this.resolve(specifier, importer) : null;
      if (module && !module.external) this.emitFile({ type: 'chunk', id: module.id });
      return module;
    },
  };
}

/** Adds the wasm where its glue looks for it, and the types. */
function besideTheModules() {
  return {
    name: 'beside-the-modules',
    generateBundle() {
      const add = (folder, to, end, change = (content) => content) => {
        for (const name of readdirSync(folder, { recursive: true }).filter((file) => file.endsWith(end))) {
          const fileName = join(to, name).split(sep).join('/');
          this.emitFile({ type: 'asset', fileName, source: change(readFileSync(join(folder, name)), name) });
        }
      };
      const out = relative(here, wasm);
      add(wasm, out, '_bg.wasm');
      add(wasm, out, 'sparsifier_wasm.d.ts');
      // wasm lies beside lib, but within dist.
      add(lib, '', '.d.ts', (types) =>
        types
          .toString()
          .replace(
            /(['"])\.\.\/((?:\.\.\/)*wasm\/)/g,
            (_, quote, path) => quote + (path.startsWith('.') ? '' : './') + path,
          ),
      );
    },
  };
}

/** Writes the schema of recipes, which editors find in the folder of an installed package. */
function schemaOfRecipes() {
  return {
    name: 'schema-of-recipes',
    async closeBundle() {
      const { recipeSchema } = await import(pathToFileURL(join(lib, 'fit', 'recipe.js')));
      writeFileSync(join(here, 'recipe.schema.json'), `${JSON.stringify(recipeSchema, null, 2)}\n`);
    },
  };
}
