import { expectPages } from '../pages.mjs';

export default [
  {
    name: 'import-map',
    title: 'an import map',
    where: 'page',
    files: ['examples/bundlers/app', 'examples/bundlers/import-map'],
    run: (project) => expectPages(project, 'page', '', { contexts: ['page'] }),
  },
];
