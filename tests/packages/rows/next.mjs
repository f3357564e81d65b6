import { allCores } from '../expected.mjs';
import { expectPages } from '../pages.mjs';
import { freePort } from '../project.mjs';

export default ['turbopack', 'webpack'].map((bundler) => ({
  name: `next-${bundler}`,
  title: `Next.js, ${bundler}`,
  where: 'dev, build and start; page, worker and route handler',
  files: ['examples/recipes/app', 'examples/recipes/next'],
  async run(project) {
    const next = project.bin('next');
    const { availableParallelism } = await import('node:os');
    for (const command of ['dev', 'start']) {
      if (command === 'start') await project.command(next, 'build', `--${bundler}`);
      const port = await freePort();
      const words = command === 'dev' ? [`--${bundler}`] : [];
      const server = await project.start(port, next, command, ...words, '--port', String(port));
      const answer = await fetch(`http://localhost:${port}/prune`);
      project.expect(
        `${command}, route handler`,
        { cores: availableParallelism(), ...(await answer.json()) },
        allCores,
      );
      await expectPages(project, command, port);
      await server.stop();
    }
  },
}));
