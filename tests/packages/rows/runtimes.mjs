import { allCores } from '../expected.mjs';

/** @param start gives the command that runs a file, and its first arguments */
const runtime = (name, title, start, file = 'node.mjs') => ({
  name,
  title,
  where: 'a program that writes a file',
  files: ['tests/packages/programs', 'examples/bundlers/app/prune.js'],
  async run(project) {
    const [command, ...words] = start(project);
    const result = JSON.parse(await project.command(command, ...words, file));
    project.expect(file, result, allCores);
    project.expect(`the file that ${file} writes`, { ...result, bytes: result.written }, allCores);
  },
});

const node = (project) => [project.bin('node')];

export default [
  runtime('node20', 'Node.js', node),
  runtime('node22', 'Node.js', node),
  runtime('node24', 'Node.js', node),
  runtime('bun', 'Bun', (project) => [project.bin('bun'), 'run']),
  runtime('deno', 'Deno', (project) => [project.bin('deno'), 'run', '--allow-all']),
  { ...runtime('commonjs', 'CommonJS', node, 'commonjs.cjs'), where: '`await import()` in a CommonJS module' },
];
