// What examples/first-run.mjs measures of each network, for the terminal and for README.md.
export const measures = [
  { title: 'download', of: ({ bytes }) => bytes / 1e6, inWords: (value) => `${value.toFixed(2)} MB` },
  { title: 'a run', of: ({ time }) => time, inWords: (value) => `${value.toFixed(1)} ms` },
  { title: 'characters kept', of: ({ characters }) => characters, inWords: (value) => `${value.toFixed(1)} %` },
];

export const titles = ['', ...measures.map(({ title }) => title)];

/** The cells of a row: the title of a network, and what was measured of it. */
export const cellsOf = (each) => [each.title, ...measures.map(({ of, inWords }) => inWords(of(each)))];
