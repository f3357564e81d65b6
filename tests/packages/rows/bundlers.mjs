import { expectPages } from '../pages.mjs';
import { freePort } from '../project.mjs';

/** A bundler that follows `new URL(..., import.meta.url)`, with a development server. */
const withServer = (name, title, build, serve) => ({
  name,
  title,
  where: 'build, serve; page and worker',
  files: ['examples/recipes/app', `examples/recipes/${name}`],
  async run(project) {
    await project.command(project.bin(name), ...build);
    project.expectOneWasm('dist');
    await expectPages(project, 'build', 'dist');
    const port = await freePort();
    await project.start(port, project.bin(name), ...serve, '--port', String(port));
    await expectPages(project, 'serve', port);
  },
});

/** A bundler that leaves `new URL(..., import.meta.url)` as it is, so that the build adds the files. */
const withFiles = (name, title, build) => ({
  name,
  title,
  where: 'build; page and worker',
  files: ['examples/recipes/app', `examples/recipes/${name}`],
  async run(project) {
    await project.command(...build(project));
    project.expectOneWasm('dist');
    await expectPages(project, 'build', 'dist');
  },
});

export default [
  withServer('webpack', 'webpack', ['build'], ['serve']),
  // In production mode its server minifies updates of the WebAssembly as scripts, and fails.
  withServer('rspack', 'Rspack', ['build', '--mode', 'production'], ['serve', '--mode', 'development']),
  withServer('parcel', 'Parcel', ['build'], ['serve']),
  withFiles('esbuild', 'esbuild', () => [process.execPath, 'build.mjs']),
  withFiles('rollup', 'Rollup', (project) => [project.bin('rollup'), '--config']),
  withFiles('bun-build', '`bun build`', (project) => [project.bin('bun'), 'run', 'build.mjs']),
];
