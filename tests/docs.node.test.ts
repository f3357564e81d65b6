import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseAst } from 'rollup/parseAst';
import * as main from 'sparsifier';
import { Criteria, Granularity, Sparsifier, type GranularityName } from 'sparsifier';
import * as arrays from 'sparsifier/formats/arrays';
import * as onnx from 'sparsifier/formats/onnx';
import { describe, expect, test } from 'vitest';
import { folder, pictures } from '../scripts/pictures.mjs';
import { run } from './support/command.js';
import { root } from './support/install.js';
import { errorOf, product } from './support/layers.js';
import { spanned, unitsOf } from './support/oracle.js';

const textOf = (name: string): string => readFileSync(join(root, name), 'utf8');
const guides = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);
const names = Object.values(Granularity).filter((each): each is GranularityName => typeof each === 'string');
const makers = Object.keys(Granularity).filter((key) => !(names as string[]).includes(key));

/** The parts of a text under its headings of second rank, by heading. */
const sectionsOf = (text: string): Map<string, string> =>
  new Map(
    text
      .split(/^## /m)
      .slice(1)
      .map((section): [string, string] => [section.slice(0, section.indexOf('\n')), section]),
  );

describe('pictures', () => {
  test('are what the script makes', async () => {
    const found = readdirSync(folder).map((name): [string, string] => [name, textOf(`docs/pictures/${name}`)]);
    expect(new Map(found)).toEqual(await pictures());
  });

  interface Square {
    readonly colour: string;
    readonly x: number;
    readonly y: number;
  }
  const squaresOf = (svg: string): Square[] =>
    [...svg.matchAll(/<path fill="(#\w+)" d="([^"]+)"/g)].flatMap(([, colour, path]) =>
      [...path!.matchAll(/M(\d+) (\d+)h/g)].map(([, x, y]) => ({ colour: colour!, x: Number(x), y: Number(y) })),
    );
  const placesAlong = (squares: readonly Square[], axis: 'x' | 'y'): number[] =>
    [...new Set(squares.map((square) => square[axis]))].sort((a, b) => a - b);

  /** The colours of a panel, line by line. */
  const linesOf = (squares: readonly Square[]): string[][] =>
    placesAlong(squares, 'y').map((y) =>
      placesAlong(squares, 'x').flatMap((x) =>
        squares.filter((square) => square.x === x && square.y === y).map(({ colour }) => colour),
      ),
    );

  const convolution = { kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [3, 2, 3, 3] } as const;
  const matrix = { kind: 'dense', roles: ['out', 'in'], shape: [4, 6] } as const;
  /** The stored positions of the weights that stand in each line of a panel. */
  const convolutionLines = Array.from({ length: 9 }, (_, line) =>
    Array.from(
      { length: 6 },
      (_, place) => (Math.floor(line / 3) * 2 + Math.floor(place / 3)) * 9 + (line % 3) * 3 + (place % 3),
    ),
  );
  const matrixLines = Array.from({ length: 4 }, (_, line) => Array.from({ length: 6 }, (_, place) => line * 6 + place));
  const [blue, orange, green, pale] = ['#0550ae', '#f0a868', '#8ccfa0', '#dfe3e8'];

  test.each(names)('%s: blue is the first unit, orange and green are the next two', (name) => {
    const squares = squaresOf(textOf(`docs/pictures/${name}.svg`));
    const columns = placesAlong(squares, 'x');
    const panels = [
      { layer: convolution, lines: convolutionLines, from: 0 },
      { layer: matrix, lines: matrixLines, from: 6 },
    ].filter(({ layer }) => spanned(layer.kind, name));
    expect(columns).toHaveLength(panels.length * 6);
    for (const { layer, lines, from } of panels) {
      const units = unitsOf({ ...layer, data: new Float32Array(product(layer.shape)) }, name);
      const colourOf = (position: number) =>
        [blue, orange, green][units.findIndex(({ positions }) => positions.includes(position))] ?? pale;
      const own = columns.slice(from, from + 6);
      expect(linesOf(squares.filter(({ x }) => own.includes(x)))).toEqual(lines.map((line) => line.map(colourOf)));
    }
  });
});

describe('the page of granularities', () => {
  const page = textOf('docs/granularity.md');
  const sections = sectionsOf(page);

  test.each(names)('has a section for %s, with its picture', (name) => {
    expect(sections.get(`\`${name}\``) ?? '').toContain(`](pictures/${name}.svg)`);
  });

  test.each(makers)('has a section for Granularity.%s', (name) => {
    expect([...sections.keys()].filter((heading) => heading.includes(`\`Granularity.${name}\``))).toHaveLength(1);
  });

  test('shows every picture', () => {
    const shown = [...page.matchAll(/\]\(pictures\/([^)]+)\)/g)].map(([, name]) => name!);
    expect(shown.sort()).toEqual(readdirSync(folder).sort());
  });
});

describe('the page of criteria', () => {
  const sections = sectionsOf(textOf('docs/criteria.md'));
  /** The names in the first column of a section's first table. */
  const namesIn = (heading: string): string[] => {
    const [table] = sections.get(heading)!.match(/^\| name \|.*\n(\|.*\n)+/m)!;
    const rows = table.split('\n').slice(2, -1);
    return rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`(\w+)`/g)].map(([, name]) => name!)).sort();
  };
  const allowed = async (option: 'reducer' | 'normalizer') => {
    const words = { granularity: 'weight', context: 'local', criteria: 'largeFinal', [option]: 'none' } as const;
    return [...(await errorOf(() => new Sparsifier(arrays.fromArrays({}), words))).details.allowed!].sort();
  };

  test('has a row for each of them', () => {
    expect(namesIn('The score of a weight')).toEqual(Object.keys(Criteria).sort());
  });

  test('has a row for each reducer and each normalizer', async () => {
    expect(namesIn('Reducers: the score of a unit')).toEqual(await allowed('reducer'));
    expect(namesIn('Normalizers: layers on one scale')).toEqual(await allowed('normalizer'));
  });
});

const blocks = guides.flatMap((name) =>
  [...textOf(name).matchAll(/^```js\n(.*?)^```$/gms)].map(([, code], index) => ({
    title: `${name}, block ${index + 1}`,
    code: code!,
  })),
);

describe('examples', () => {
  const modules: Readonly<Record<string, object>> = {
    sparsifier: main,
    'sparsifier/formats/arrays': arrays,
    'sparsifier/formats/onnx': onnx,
  };

  test('are in every guide', () => {
    for (const name of guides) expect(blocks.filter(({ title }) => title.startsWith(name))).not.toEqual([]);
  });

  test.each(blocks)('$title is JavaScript, and imports what there is', ({ code }) => {
    for (const node of parseAst(code).body) {
      if (node.type !== 'ImportDeclaration') continue;
      expect(Object.keys(modules)).toContain(node.source.value);
      for (const specifier of node.specifiers) {
        const imported =
          specifier.type === 'ImportSpecifier' && 'name' in specifier.imported && specifier.imported.name;
        expect(Object.keys(modules[node.source.value as string]!)).toContain(imported);
      }
    }
  });

  const print = /^console\.log\(.*\); \/\/ (.*)$/gm;
  const printing = blocks.filter(({ code }) => code.search(print) >= 0);

  test.each(printing)('$title prints what it says', async ({ code }) => {
    const expected = [...code.matchAll(print)].map(([, line]) => `${line}\n`).join('');
    const ended = await run(process.execPath, ['--input-type=module', '--eval', code], { cwd: root });
    expect(ended).toEqual({ code: 0, stdout: expected, stderr: '' });
  });
});

describe('links', () => {
  const withoutBlocks = (text: string) => text.replace(/^```.*?^```$/gms, '');
  /** The targets of a text's links and pictures within the repository. */
  const linksIn = (name: string): string[] =>
    [
      ...withoutBlocks(textOf(name))
        .replace(/`[^`\n]*`/g, '')
        .matchAll(/\]\(([^)\s]+)\)/g),
    ]
      .map(([, target]) => target!)
      .filter((target) => !/^\w+:/.test(target));
  /** How GitHub makes anchors of headings. */
  const anchorsIn = (name: string): string[] =>
    [...withoutBlocks(textOf(name)).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    );

  test.each([...guides, 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])('of %s lead somewhere', (name) => {
    const broken = linksIn(name).filter((target) => {
      const [path, anchor] = target.split('#') as [string, string | undefined];
      const file = path === '' ? name : join(dirname(name), path);
      return !existsSync(join(root, file)) || (anchor !== undefined && !anchorsIn(file).includes(anchor));
    });
    expect(broken).toEqual([]);
  });

  test('lead from the README to every guide', () => {
    const others = guides.filter((name) => name !== 'README.md');
    expect(linksIn('README.md').map((target) => target.split('#')[0])).toEqual(expect.arrayContaining(others));
  });
});
