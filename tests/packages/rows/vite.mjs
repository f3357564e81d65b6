import { expectPages } from '../pages.mjs';
import { freePort } from '../project.mjs';

export default [5, 6, 7, 8].map((version) => ({
  name: `vite${version}`,
  title: 'Vite',
  where: 'dev, build, preview; page and worker',
  files: ['examples/recipes/app', 'examples/recipes/vite'],
  async run(project) {
    const vite = project.bin('vite');
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
