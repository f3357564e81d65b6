import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseAst } from 'rollup/parseAst';
import { Criteria, Granularity, Sparsifier, type GranularityName, type Role } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { Schedule, sparsifyCallback, type ScheduleName } from 'sparsifier/training';
import { describe, expect, test } from 'vitest';
import { folder, pictures, speed, withTables } from '../../scripts/pictures.mjs';
import { run } from '../support/command.js';
import { root } from '../support/install.js';
import { errorOf, product } from '../support/layers.js';
import { coordinates, spanned, unitsOf } from '../support/oracle.js';
import { tf } from '../support/tfjs.js';

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
    readonly isEmpty: boolean;
    readonly x: number;
    readonly y: number;
  }
  const squaresOf = (svg: string): Square[] =>
    [...svg.matchAll(/<path fill="(#\w+)" d="([^"]+)"/g)].flatMap(([, colour, path]) =>
      [...path!.matchAll(/M(\d+) (\d+)h[^zm]+z(m[^z]+z)?/g)].map(([, x, y, hole]) => ({
        colour: colour!,
        isEmpty: hole !== undefined,
        x: Number(x),
        y: Number(y),
      })),
    );

  interface Panel {
    readonly kind: 'conv2d' | 'dense';
    readonly shape: readonly number[];
  }
  const roles: readonly Role[] = ['out', 'in', 'height', 'width'];
  const layerOf = ({ kind, shape }: Panel): ArrayLayer => ({
    kind,
    shape,
    roles: roles.slice(0, shape.length),
    data: new Float32Array(product(shape)),
  });

  /** The squares of each panel in stored order of the weights that they stand for: a column of squares is `in` and `width`. */
  function panelsOf(name: string, panels: readonly Panel[]): Square[][] {
    let rest = squaresOf(textOf(`docs/pictures/${name}.svg`)).sort((a, b) => a.x - b.x || a.y - b.y);
    const found = panels.map(({ shape }) => {
      const [outs, ins, heights = 1, widths = 1] = shape as [number, number, number?, number?];
      const lines = outs * heights;
      const own = rest.slice(0, lines * ins * widths);
      rest = rest.slice(own.length);
      return Array.from({ length: own.length }, (_, position) => {
        const [width, height] = [position % widths, Math.floor(position / widths) % heights];
        const [input, out] = [
          Math.floor(position / widths / heights) % ins,
          Math.floor(position / widths / heights / ins),
        ];
        return own[(input * widths + width) * lines + out * heights + height]!;
      });
    });
    expect(rest, 'beyond the panels').toEqual([]);
    return found;
  }

  const [blue, orange, green, pale] = ['#0550ae', '#f0a868', '#8ccfa0', '#dfe3e8'];
  /** The colour of each weight, given the units in canonical order. */
  const coloursOf = (units: readonly (readonly number[])[]): string[] => {
    const colours: string[] = [];
    units.forEach((positions, unit) => {
      for (const position of positions) colours[position] = [blue, orange, green][unit] ?? pale!;
    });
    return colours;
  };
  const convolution: Panel = { kind: 'conv2d', shape: [3, 2, 3, 3] };
  const matrix: Panel = { kind: 'dense', shape: [4, 6] };

  test.each(names)('%s: blue is the first unit, orange and green are the next two', (name) => {
    const panels = [convolution, matrix].filter(({ kind }) => spanned(kind, name));
    for (const [index, squares] of panelsOf(name, panels).entries()) {
      const units = unitsOf(layerOf(panels[index]!), name).map(({ positions }) => positions);
      expect(squares.map(({ colour }) => colour)).toEqual(coloursOf(units));
      expect(squares.filter(({ isEmpty }) => isEmpty)).toEqual([]);
    }
  });

  /** The weights of four input channels at a time, those at the end fewer, with one output channel and one place. */
  const foursOf = (panel: Panel): number[][] => {
    const fours = new Map<string, number[]>();
    for (const [position] of layerOf(panel).data.entries()) {
      const [out, input, ...place] = coordinates(layerOf(panel), position);
      const key = [out, Math.floor(input! / 4), ...place].join();
      fours.set(key, [...(fours.get(key) ?? []), position]);
    }
    return [...fours.values()];
  };

  test('block: blocks of four input channels, smaller at the edge', () => {
    const panels: Panel[] = [
      { kind: 'conv2d', shape: [2, 6, 3, 3] },
      { kind: 'dense', shape: [4, 6] },
    ];
    for (const [index, squares] of panelsOf('block', panels).entries()) {
      expect(squares.map(({ colour }) => colour)).toEqual(coloursOf(foursOf(panels[index]!)));
    }
  });

  test('nm: two of each four input channels are empty', () => {
    const panels: Panel[] = [
      { kind: 'conv2d', shape: [2, 4, 3, 3] },
      { kind: 'dense', shape: [4, 8] },
    ];
    for (const [index, squares] of panelsOf('nm', panels).entries()) {
      const fours = foursOf(panels[index]!);
      expect(squares.map(({ colour }) => colour)).toEqual(coloursOf(fours));
      for (const positions of fours) expect(positions.filter((each) => squares[each]!.isEmpty)).toHaveLength(2);
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
    const others = readdirSync(folder).filter((name) => name !== speed);
    expect(shown.sort()).toEqual(others.sort());
  });
});

describe('how fast', () => {
  const section = sectionsOf(textOf('README.md')).get('How fast')!;

  test('shows the chart and the tables of the newest record', () => {
    expect(section).toContain(`](docs/pictures/${speed})`);
    const readme = textOf('README.md');
    expect(readme).toEqual(withTables(readme));
  });

  test('says what the record says', () => {
    const [name] = readdirSync(join(root, 'bench', 'record'))
      .sort()
      .slice(-1);
    const { date, versions, cases } = JSON.parse(textOf(`bench/record/${name!}`)) as {
      date: string;
      versions: Record<string, string>;
      cases: { model: string; granularity: string; context: string; engines: { name: string; engine: number }[] }[];
    };
    expect(section).toContain(`${date}. sparsifier ${versions.sparsifier}`);
    const svg = textOf(`docs/pictures/${speed}`);
    const [quoted] = cases.filter((each) => each.model === '25 M' && each.granularity === 'weight');
    const sorted = [...quoted!.engines].sort((a, b) => a.engine - b.engine);
    const bars = [...svg.matchAll(/<text[^>]*text-anchor="end"[^>]*>([^<]+)<\/text>\n<rect[^>]* width="(\d+)"/g)];
    expect(bars.map(([, engine]) => engine)).toEqual(sorted.map(({ name }) => name));
    // On a logarithmic scale equal ratios of times are equal distances.
    const widths = bars.map(([, , width]) => Number(width));
    const logarithms = sorted.map(({ engine }) => Math.log(engine));
    const scale = (widths.at(-1)! - widths[0]!) / (logarithms.at(-1)! - logarithms[0]!);
    for (const [index, width] of widths.entries()) {
      expect(Math.abs(width - widths[0]! - scale * (logarithms[index]! - logarithms[0]!))).toBeLessThan(2);
    }
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
    return [...(await errorOf(() => new Sparsifier(fromArrays({}), words))).details.allowed!].sort();
  };

  test('has a row for each of them', () => {
    expect(namesIn('The score of a weight')).toEqual(Object.keys(Criteria).sort());
  });

  test('has a row for each reducer and each normalizer', async () => {
    expect(namesIn('Reducers: the score of a unit')).toEqual(await allowed('reducer'));
    expect(namesIn('Normalizers: layers on one scale')).toEqual(await allowed('normalizer'));
  });
});

describe('the page for those who come from fasterai', () => {
  test('has the callback, and a schedule in each place of its two lists, which are all there are', async () => {
    const page = textOf('docs/coming-from-fasterai.md');
    expect(page).toMatch(/^\| `SparsifyCallback\(.*`sparsifyCallback\(.*\]\(training\.md\)/m);
    const [, theirs, ours] = page.match(/^\| (`one_shot`.*?) \| the same, or (.*?);/m)!;
    const namesIn = (list: string) => list.split(', ').map((each) => each.replaceAll('`', ''));
    expect(namesIn(ours!)).toEqual(Object.keys(Schedule));
    const words = { granularity: 'weight', context: 'local', criteria: 'magnitude', sparsity: 50 } as const;
    const made = namesIn(theirs!).map((name) => {
      const schedule = name as ScheduleName;
      return sparsifyCallback(tf, { ...words, schedule }).schedule.scheduleName;
    });
    expect(made).toEqual(Object.keys(Schedule));
  });
});

const blocks = guides.flatMap((name) =>
  [...textOf(name).matchAll(/^```js\n(.*?)^```$/gms)].map(([, code], index) => ({
    title: `${name}, block ${index + 1}`,
    code: code!,
  })),
);

describe('examples', () => {
  test('are in every guide', () => {
    for (const name of guides) expect(blocks.filter(({ title }) => title.startsWith(name))).not.toEqual([]);
  });

  test.each(blocks)('$title is JavaScript, and imports what there is', async ({ code }) => {
    for (const node of parseAst(code).body) {
      if (node.type !== 'ImportDeclaration') continue;
      const there = Object.keys((await import(/* @vite-ignore */ node.source.value as string)) as object);
      for (const specifier of node.specifiers) {
        if (specifier.type === 'ImportNamespaceSpecifier') continue;
        expect(
          specifier.type === 'ImportSpecifier' && 'name' in specifier.imported && specifier.imported.name,
        ).toBeOneOf(there);
      }
    }
  });

  const print = /^console\.log\(.*\); \/\/ (.*)$/gm;
  const printing = blocks.filter(({ code }) => code.search(print) >= 0);

  test.each(printing)('$title prints what it says', async ({ code }) => {
    const expected = [...code.matchAll(print)].map(([, line]) => `${line}\n`).join('');
    const ended = await run(process.execPath, ['--input-type=module', '--eval', code], { cwd: root });
    // TensorFlow.js greets those who run it in Node.
    const stderr = ended.stderr.replace(/^\s*=+\s+Hi, looks like you are running TensorFlow\.js[^=]*=+\s*/, '');
    expect({ ...ended, stderr }).toEqual({ code: 0, stdout: expected, stderr: '' });
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
