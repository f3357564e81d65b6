import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { packageFolder } from '../support/install.js';

const dist = join(packageFolder, 'dist');

/** What loads with a module: the modules of the package that it imports, but not by `import()`, and other packages. */
function loadedWith(module: string, loaded = new Set<string>()): Set<string> {
  const name = relative(dist, module);
  if (loaded.has(name)) return loaded;
  loaded.add(name);
  for (const [, specifier] of readFileSync(module, 'utf8').matchAll(/^(?:import|export)\b[^;]*?['"]([^'"]+)['"];/gm)) {
    if (specifier!.startsWith('.')) loadedWith(join(dirname(module), specifier!), loaded);
    else loaded.add(specifier!);
  }
  return loaded;
}

test.each(['formats.js', 'file.js', 'cli/inspect.js'])(
  'With %s no reader of a format is loaded before a file has this format',
  (entry) => {
    const loaded = loadedWith(join(dist, entry));
    expect(loaded).toContain('formats/onnx/signature.js');
    expect([...loaded].filter((name) => /^formats\/\w+\/format\.js$/.test(name))).toEqual([]);
  },
);

test.each(['index.js', 'training.js', 'sensitivity.js', 'fit.js', 'cli/fit.js', 'cli/prune.js'])(
  'With %s nothing is loaded that only plots need',
  (entry) => {
    const loaded = loadedWith(join(dist, entry));
    expect(loaded.size).toBeGreaterThan(20);
    expect([...loaded].filter((name) => name.startsWith('d3'))).toEqual([]);
  },
);

test('What a plot needs is found where it is loaded, so that the tests above can fail', () => {
  expect(loadedWith(join(dist, 'training', 'plot.js'))).toContain('d3-scale');
  expect(loadedWith(join(dist, 'onnx.js'))).toContain('formats/onnx/format.js');
});

test('No module needs `Symbol.dispose`, which some browsers lack, but those of the command line', () => {
  const helper = '__addDisposableResource';
  const needing = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.js') && readFileSync(join(dist, name), 'utf8').includes(helper),
  );
  expect(needing).toContain(join('cli', 'prune.js'));
  expect(needing.filter((name) => !name.startsWith('cli'))).toEqual([]);
});
