import { cp, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { allCores } from '../expected.mjs';

const program = ['tests/packages/programs', 'examples/recipes/app/prune.js'];
const cores = availableParallelism();

/** @param start gives the command that runs a file, and its first arguments */
const runtime = (name, title, start, file = 'node.mjs') => ({
  name,
  title,
  where: 'a program that writes a file',
  files: program,
  async run(project) {
    const [command, ...words] = start(project);
    const result = JSON.parse(await project.command(command, ...words, file));
    project.expect(file, result, allCores);
    project.expect(`the file that ${file} writes`, { ...result, bytes: result.written }, allCores);
  },
});

const node = (project) => [project.bin('node')];

const yarn = {
  name: 'yarn',
  title: 'Yarn, Plug’n’Play',
  where: 'a program that writes a file',
  files: ['tests/packages/yarn', ...program],
  async run(project) {
    for (const name of ['node.mjs', 'prune.js', 'model.onnx']) await cp(project.at(name), project.at('pnp', name));
    // Yarn asks for one before it takes the folder for a project.
    await writeFile(project.at('pnp', 'yarn.lock'), '');
    const inProject = [project.bin('yarn'), '--cwd', project.at('pnp')];
    await project.command(...inProject, 'install');
    const result = JSON.parse(await project.command(...inProject, 'node', 'node.mjs'));
    project.expect('node.mjs', result, allCores);
    project.expect('the file that node.mjs writes', { ...result, bytes: result.written }, allCores);
  },
};

const jest = (version) => ({
  name: `jest${version}`,
  title: `Jest, Node.js ${version}`,
  where: 'a CommonJS test',
  files: ['examples/recipes/jest', 'examples/recipes/app/prune.js'],
  async run(project) {
    await project.command(project.bin('node'), '--experimental-vm-modules', 'node_modules/jest/bin/jest.js');
    const result = JSON.parse(await readFile(project.at('result.json'), 'utf8'));
    project.expect('prune.test.cjs', { cores, ...result }, allCores);
  },
});

export default [
  runtime('node20', 'Node.js 20', node),
  runtime('node22', 'Node.js 22', node),
  runtime('node24', 'Node.js 24', node),
  runtime('bun', 'Bun', (project) => [project.bin('bun'), 'run']),
  runtime('deno', 'Deno', (project) => [project.bin('deno'), 'run', '--allow-all']),
  yarn,
  jest(20),
  jest(24),
  {
    ...runtime('commonjs', 'CommonJS', node, 'commonjs.cjs'),
    where: '`require()` and `import()` in a CommonJS module',
  },
];
