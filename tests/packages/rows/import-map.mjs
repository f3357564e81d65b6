import { expectPages } from '../pages.mjs';

export default [
  {
    name: 'import-map',
    title: 'an import map',
    where: 'page',
    files: ['examples/recipes/app', 'examples/recipes/import-map'],
    run: (project) => expectPages(project, 'page', '', { contexts: ['page'] }),
  },
];
