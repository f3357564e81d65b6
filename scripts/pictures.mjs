// Draws the pictures of docs/granularity.md, which show the weights of a unit, from the axes that the package computes.
// Also updates the charts and the tables of README.md and docs/speed.md from the newest record in bench/record/ and that in
// bench/story/, and those of docs/smaller.md from the records in bench/download/ and bench/quantise/.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { downloads, expected } from '../bench/download/table.mjs';
import { quantisers } from '../bench/quantise/table.mjs';
import { story, storyChart } from '../bench/story/table.mjs';
import { chart, newestRecord, summary, tables } from '../bench/report.mjs';
import { build } from './build.mjs';
import { setUp } from './setup.mjs';
import { main, root } from './steps.mjs';

export const folder = join(root, 'docs', 'pictures');
/** The chart of the newest record. */
export const speed = 'speed.svg';
/** What becomes of a network that reads text, in README.md. */
export const reading = 'reading.svg';
/** The picture of a group of channels, in docs/faster.md. */
export const coupled = 'coupled.svg';

/** Layers that are small enough to draw, stored in canonical order. */
const layersOf = (convolution, matrix) => [
  { title: 'convolution', kind: 'conv2d', roles: ['out', 'in', 'height', 'width'], shape: [...convolution, 3, 3] },
  { title: 'matrix', kind: 'dense', roles: ['out', 'in'], shape: matrix },
];

/** The SVG of each picture, by file name. Needs the built package. */
export async function pictures() {
  const { Granularity, granularitiesOf, granularityNames, unitsOfTensor } =
    await import('../packages/sparsifier/dist/internal.js');
  const drawPicture = (name, granularity, layers) => {
    const panels = layers.map((layer) => panelOf(layer, unitsOfTensor({ ...layer, name, groups: 1 }, granularity)));
    const captions = panels.map(({ title, caption }) => `in a ${title} ${caption}`);
    return [`${name}.svg`, picture(`${name}: ${captions.join(', ')}`, panels)];
  };
  return new Map([
    ...granularityNames.map((name) =>
      drawPicture(
        name,
        name,
        layersOf([3, 2], [4, 6]).filter(({ kind }) => granularitiesOf(kind).includes(name)),
      ),
    ),
    drawPicture('block', Granularity.block({ out: 1, in: 4 }), layersOf([2, 6], [4, 6])),
    drawPicture('nm', Granularity.nm(2, 4), layersOf([2, 4], [4, 8])),
    [coupled, picture('coupled: which weights go with a channel', await panelsOfBlock())],
    [speed, chart(newestRecord())],
    [reading, storyChart()],
  ]);
}

/** The layers of a residual block of 1 x 1 convolutions: `a` and `b` are added to what `stem` makes. */
const block = [
  { title: 'stem', input: 'x', shape: [4, 3], caption: 'makes blue' },
  { title: 'a', input: 'stem', shape: [3, 4], caption: 'reads blue, makes orange' },
  { title: 'b', input: 'a', shape: [4, 3], caption: 'makes blue, reads orange' },
  { title: 'next', input: 'sum', shape: [3, 4], caption: 'reads blue' },
];

/** The panels of these layers: blue is what goes with a channel of the sum, orange what goes with one inside of the block. */
async function panelsOfBlock() {
  const { readOnnx } = await import('sparsifier/formats/onnx');
  const { Sparsifier } = await import('sparsifier');
  const { bytesField, graph, integerField, node, opset, tensor } = await import('../bench/onnx-models.mjs');
  const content = graph({
    nodes: [
      ...block.slice(0, 3).map(({ title, input }) => node('Conv', [input, `${title}.w`], [title], { name: title })),
      node('Add', ['stem', 'b'], ['sum']),
      node('Conv', ['sum', 'next.w'], ['y'], { name: 'next' }),
    ],
    initializers: block.map(({ title, shape }) => tensor(`${title}.w`, [...shape, 1, 1])),
    inputs: [['x', [1, 3, 8, 8]]],
    outputs: ['y'],
  });
  const bytes = Buffer.concat([integerField(1, 8), opset(17), bytesField(7, content)].flat(Infinity));
  /** For each layer, which weights go if a channel of a group does. */
  const goneWith = async (group) => {
    const model = await readOnnx(bytes);
    await new Sparsifier(model, { granularity: 'filter', coupled: true }).sparsifyLayer(group, { remove: 1 });
    const gone = [];
    for (const { values } of model.tensors) {
      const numbers = new Float32Array((await model.copy(values)).slice().buffer);
      gone.push([...numbers].map((number) => number === 0));
    }
    model.close();
    return gone;
  };
  const [ofSum, ofBlock] = [await goneWith('stem'), await goneWith('a')];
  return block.map(({ title, shape, caption }, place) => ({
    ...{ title, roles: ['out', 'in'], shape, caption, isEmpty: () => false },
    units: ofSum[place].map((isGone, weight) => (isGone ? 0 : ofBlock[place][weight] ? 1 : colours.length)),
  }));
}

/** The files that contain tables of records. */
export const textsWithTables = ['README.md', 'docs/speed.md', 'docs/smaller.md'];

const made = {
  story,
  summary: () => summary(newestRecord()),
  tables: () => tables(newestRecord()),
  expected,
  downloads,
  quantisers,
};

/** Replaces the tables between the marks of a text by those of the records. */
export const withTables = (text) =>
  Object.entries(made).reduce(
    (filled, [mark, make]) =>
      filled.replace(
        new RegExp(`(<!-- ${mark} -->\\n)[^]*(<!-- end of ${mark} -->)`),
        (_, start, end) => `${start}${make()}\n${end}`,
      ),
    text,
  );

/** The panel of a layer: for each weight, in stored order, the number of its unit and whether it is drawn empty. */
function panelOf(layer, { axes, pattern }) {
  if (!pattern) {
    const units = unitOfEach(axes);
    return { ...layer, units, isEmpty: () => false, caption: countOf(units) };
  }
  // The groups of weights of which some are removed. Which ones depends on the scores, so any will do.
  const { keep, of, along } = pattern;
  const units = unitOfEach(axes.map((axis, index) => (index === along ? { ...axis, block: of } : axis)));
  const places = units.map((unit, weight) => units.slice(0, weight).filter((other) => other === unit).length);
  const isEmpty = (weight) => (places[weight] + units[weight]) % of >= keep;
  return { ...layer, units, isEmpty, caption: `${keep} of each ${of} are kept` };
}

/** For each weight, in stored order, the number of its unit. */
const unitOfEach = (axes) =>
  axes.reduce(
    (units, { size, block }) =>
      units.flatMap((unit) =>
        Array.from({ length: size }, (_, at) => unit * Math.ceil(size / block) + Math.floor(at / block)),
      ),
    [0],
  );

function countOf(units) {
  const sizes = [...new Set(units)].map((unit) => units.filter((each) => each === unit).length);
  const largest = Math.max(...sizes);
  const inWords = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;
  const upTo = sizes.every((size) => size === largest) ? '' : 'up to ';
  return `${inWords(sizes.length, 'unit')} of ${upTo}${inWords(largest, 'weight')}`;
}

const cell = 18;
const margin = 14;
/** The space to the left of a panel's first weight for "out", and above it for the title and "in". */
const [left, top] = [38, 44];
/** The minimum width, so that captions fit. */
const panelWidth = 176;
const text = '#24292f';
const pale = '#dfe3e8';
/** The colours of one unit and, lighter, of the next two, which show how units are arranged. */
const colours = ['#0550ae', '#f0a868', '#8ccfa0'];

function picture(title, panels) {
  let width = margin;
  const drawn = panels.map((panel) => {
    const it = drawPanel(panel, width);
    width += it.width;
    return it;
  });
  width += margin;
  const height = 2 * margin + Math.max(...drawn.map((panel) => panel.height));
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<title>${title}</title>
<rect width="${width}" height="${height}" rx="8" fill="#fff"/>
<g font-family="system-ui, sans-serif" font-size="12" fill="${text}">
${drawn.flatMap(({ lines }) => lines).join('\n')}
</g>
</svg>
`;
}

/** Rows are output channels, columns input channels; a small square is a weight. */
function drawPanel({ title, roles, shape, units, isEmpty, caption }, x) {
  const y = margin + top;
  const sizeOf = (role) => shape[roles.indexOf(role)] ?? 1;
  const gap = roles.length > 2 ? 9 : 0;
  const steps = {
    out: [0, sizeOf('height') * cell + gap],
    in: [sizeOf('width') * cell + gap, 0],
    height: [0, cell],
    width: [cell, 0],
  };
  const places = roles.reduce(
    (places, role, axis) =>
      places.flatMap(([right, down]) =>
        Array.from({ length: shape[axis] }, (_, at) => [right + at * steps[role][0], down + at * steps[role][1]]),
      ),
    [[x + left, y]],
  );
  const square = `h${cell - 2}v${cell - 2}h${2 - cell}z`;
  // The hole is drawn in the opposite direction.
  const hole = `m2 2v${cell - 6}h${cell - 6}v${6 - cell}z`;
  const squares = (colour, isChosen) => {
    const path = places.flatMap(([right, down], weight) =>
      isChosen(units[weight]) ? [`M${right} ${down}${square}${isEmpty(weight) ? hole : ''}`] : [],
    );
    return path.length > 0 ? [`<path fill="${colour}" d="${path.join('')}"/>`] : [];
  };
  const right = Math.max(...places.map(([right]) => right)) + cell;
  const bottom = Math.max(...places.map(([, down]) => down)) + cell;
  const arrows = `M${x + left + 15} ${y - 12}h22m-4-3l4 3-4 3M${x + left - 20} ${y + 19}v22m-3-4l3 4 3-4`;
  return {
    width: Math.max(panelWidth, right + margin - x),
    height: bottom + 20 - margin,
    lines: [
      `<text x="${x}" y="${margin + 12}" font-weight="600">${title}</text>`,
      `<text x="${x + left}" y="${y - 8}">in</text>`,
      `<text x="${x + left - 10}" y="${y + 12}" text-anchor="end">out</text>`,
      `<path fill="none" stroke="${text}" d="${arrows}"/>`,
      ...squares(pale, (unit) => unit >= colours.length),
      ...colours.flatMap((colour, number) => squares(colour, (unit) => unit === number)),
      `<text x="${x}" y="${bottom + 16}">${caption}</text>`,
    ],
  };
}

await main(import.meta, async () => {
  await build(await setUp());
  const files = await pictures();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of files) writeFileSync(join(folder, name), content);
  for (const path of textsWithTables.map((name) => join(root, name))) {
    writeFileSync(path, withTables(readFileSync(path, 'utf8')));
  }
});
