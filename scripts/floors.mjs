// A rule for oxlint: the folders of packages/sparsifier/src are floors. A file may import only from its own floor and
// those below it. Imports of types, `import()` and `typeof import()` count too.
import { dirname, join, relative, sep } from 'node:path';
import { exportedModules } from './entry-points.mjs';
import { packageFolder } from './steps.mjs';

const entryPoints = 'entry points';
/** From the lowest to the highest. */
const floors = [
  'printable.ts',
  'errors.ts',
  // The built wasm.
  'wasm',
  'host',
  'engine',
  'model',
  'structure',
  'options',
  'formats',
  'calibration',
  'repair',
  'pruning',
  'quantization',
  'streaming',
  'training',
  'analysis',
  'removal',
  'fit',
  'page',
  'cli',
  entryPoints,
];

const source = join(packageFolder, 'src');

/** The floor of a file; undefined outside of src. */
function floorOf(path) {
  const inside = relative(source, path).split(sep).join('/');
  if (inside.startsWith('../')) return undefined;
  // Also where it lies in a folder, as the files of threads do, which nothing imports.
  const isExported = exportedModules.includes(inside.replace(/\.ts$/, ''));
  const [name, ...rest] = inside.split('/');
  return isExported || (rest.length === 0 && !floors.includes(name)) ? entryPoints : name;
}

/** The file that an import resolves to; undefined for another package. */
function target(file, specifier) {
  if (specifier === '#host') return join(source, 'host', 'node.ts');
  if (specifier.startsWith('.')) return join(dirname(file), specifier.replace(/\.js$/, '.ts'));
  return undefined;
}

function create(context) {
  const from = floorOf(context.filename);
  if (from === undefined) return {};
  const check = (node) => {
    // `export { name }` has no source, and the source of an `import()` can be any expression.
    const specifier = node.source?.value;
    const path = typeof specifier === 'string' ? target(context.filename, specifier) : undefined;
    const to = path && floorOf(path);
    if (to === undefined || floors.indexOf(to) <= floors.indexOf(from)) return;
    const message = `${from} imports from ${to}, a floor above it (scripts/floors.mjs)`;
    context.report({ node: node.source, message });
  };
  return {
    Program(node) {
      if (!floors.includes(from)) context.report({ node, message: `${from} is not a floor in scripts/floors.mjs` });
    },
    ImportDeclaration: check,
    ExportNamedDeclaration: check,
    ExportAllDeclaration: check,
    ImportExpression: check,
    TSImportType: check,
  };
}

export default { meta: { name: 'sparsifier' }, rules: { floors: { create } } };
