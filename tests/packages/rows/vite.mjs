import { readFile, rm, writeFile } from 'node:fs/promises';
import { Failure } from '../../../scripts/steps.mjs';
import { allCores } from '../expected.mjs';
import { expectPages, isolation, pageOf } from '../pages.mjs';
import { freePort } from '../project.mjs';

/** Without the recipe, development servers before Vite 8 pre-bundle the package so that the error says what to do. */
async function expectWithoutConfig(project, vite, version) {
  const port = await freePort();
  const config = await readFile(project.at('vite.config.js'));
  await rm(project.at('vite.config.js'));
  const server = await project.start(port, vite, 'dev', '--port', String(port), '--strictPort');
  const { cores, page } = await pageOf(project, port, isolation);
  await server.stop();
  await writeFile(project.at('vite.config.js'), config);
  if (version === 8) project.expect('dev without a configuration', { cores, ...page }, allCores);
  else if (!page.error?.includes("optimizeDeps: { exclude: ['sparsifier'] }")) {
    throw new Failure(`dev without a configuration: ${JSON.stringify(page)}`);
  }
}

export default [5, 6, 7, 8].map((version) => ({
  name: `vite${version}`,
  title: `Vite ${version}`,
  where: 'dev, build, preview; page and worker',
  files: ['examples/recipes/app', 'examples/recipes/vite'],
  async run(project) {
    const vite = project.bin('vite');
    await expectWithoutConfig(project, vite, version);
    for (const command of ['dev', 'preview']) {
      if (command === 'preview') {
        await project.command(vite, 'build');
        project.expectOneWasm('dist');
        await expectPages(project, 'build', 'dist');
      }
      const port = await freePort();
      const server = await project.start(port, vite, command, '--port', String(port), '--strictPort');
      await expectPages(project, command, port);
      await server.stop();
    }
  },
}));
