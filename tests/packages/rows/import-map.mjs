import { versionOf } from '../browsers.mjs';
import { expectPages } from '../pages.mjs';

export default [
  {
    name: 'import-map',
    title: 'an import map',
    version: async () => `Chromium ${await versionOf('chromium')}`,
    where: 'page',
    files: ['examples/recipes/app', 'examples/recipes/import-map'],
    run: (project) => expectPages(project, 'page', '', { contexts: ['page'] }),
  },
];
