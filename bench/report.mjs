// Formats results: as text for the terminal, and those of the newest record as a chart and tables for the docs.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../scripts/steps.mjs';
import { titleOf } from './cases.mjs';

export const recordFolder = join(root, 'bench', 'record');

export function newestRecord() {
  const newest = readdirSync(recordFolder).sort().at(-1);
  return JSON.parse(readFileSync(join(recordFolder, newest), 'utf8'));
}

const megabytes = (bytes) => (bytes === undefined ? '-' : (bytes / 1e6).toFixed(0));
/** Two significant digits, or all digits before the decimal point. */
const short = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en'));
export const milliseconds = (time) => `${short(time)} ms`;

const isOurs = ({ name }) => name.startsWith('sparsifier');
/** The engine that ratios refer to: this package on all threads in Node. */
const ours = ({ engines }) => engines[1];

export function textOfCase(result) {
  const own = ours(result);
  const lines = result.engines.map(({ name, rounds, engine, copyIn, copyOut, whole, zeros, peakMemory }) =>
    [
      name.padEnd(32),
      ...[engine, copyIn, copyOut, whole].map((time) => time.toFixed(1).padStart(10)),
      `${short(engine / own.engine)} x`.padStart(10),
      zeros.toLocaleString('en').padStart(14),
      megabytes(peakMemory).padStart(9),
      String(rounds).padStart(8),
    ].join(''),
  );
  const head = ['engine, ms', 'copy in', 'copy out', 'whole', 'ratio'].map((word) => word.padStart(10)).join('');
  return `\n${titleOf(result).padEnd(32)}${head}${'zeros'.padStart(14)}${'peak MB'.padStart(9)}${'rounds'.padStart(8)}\n${lines.join('\n')}`;
}

export function textOfCommand({ bytes, programs }) {
  const lines = programs.map(
    ({ name, time, peakMemory }) =>
      `${name.padEnd(32)}${String(time).padStart(10)}${megabytes(peakMemory).padStart(10)}`,
  );
  const title = `a file of ${megabytes(bytes)} MB`;
  return `\n${title.padEnd(32)}${'ms'.padStart(10)}${'peak MB'.padStart(10)}\n${lines.join('\n')}`;
}

export const machineOf = ({ cpu, cores, date, versions }) => {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${cpu}, ${cores} cores, ${date}. ${list.join(', ')}`;
};

/** A chart of the main case: bars on a logarithmic scale, fastest first. */
export function chart(record) {
  const { engines } = record.cases.find((each) => titleOf(each) === '25 M, weight, local');
  const sorted = [...engines].sort((a, b) => a.engine - b.engine);
  const decade = (time) => Math.log10(time);
  // A logarithmic scale has no zero. It begins low enough for the shortest bar to be visible.
  const [first, last] = [Math.floor(decade(sorted[0].engine)) - 1, Math.ceil(decade(sorted.at(-1).engine))];
  const [left, top, width, line] = [236, 66, 340, 24];
  const at = (time) => Math.round(left + ((decade(time) - first) / (last - first)) * width);
  const bottom = top + line * sorted.length;
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
  const text = (x, y, content, more = '') => `<text x="${x}" y="${y}"${more}>${content}</text>`;
  const lines = [
    text(16, 28, 'Removing half of 25 million weights by magnitude', ' font-size="15" font-weight="600"'),
    text(16, 47, 'time of the engine on a logarithmic scale; shorter is better', ' fill="#57606a"'),
    ...ticks.map((time) => `<path stroke="#dfe3e8" d="M${at(time)} ${top}V${bottom + 4}"/>`),
    ...ticks.map((time) => text(at(time), bottom + 18, milliseconds(time), ' text-anchor="middle" fill="#57606a"')),
    ...sorted.flatMap((each, index) => {
      const y = top + line * index;
      const end = at(each.engine);
      const [colour, weight] = isOurs(each) ? ['#0550ae', ' font-weight="600"'] : ['#f0a868', ''];
      return [
        text(left - 10, y + 16, each.name, ` text-anchor="end"${weight}`),
        `<rect x="${left}" y="${y + 3}" width="${end - left}" height="${line - 6}" fill="${colour}"/>`,
        text(end + 6, y + 16, milliseconds(each.engine), weight),
      ];
    }),
  ];
  const [wide, high] = [left + width + 84, bottom + 32];
  const title = sorted.map((each) => `${each.name} ${milliseconds(each.engine)}`).join('; ');
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${wide}" height="${high}" viewBox="0 0 ${wide} ${high}">
<title>Removing half of 25 million weights: ${title}</title>
<rect width="${wide}" height="${high}" rx="8" fill="#fff"/>
<g font-family="system-ui, sans-serif" font-size="12" fill="#24292f">
${lines.join('\n')}
</g>
</svg>
`;
}

export const row = (cells) => `| ${cells.join(' | ')} |`;
export const head = (cells) => [row(cells), `|---|${'---:|'.repeat(cells.length - 1)}`];
/** The time of another engine for a case, and its ratio to ours. */
const compared = (result, name) => {
  const other = result.engines.find((each) => each.name === name);
  return other ? `${milliseconds(other.engine)} (${short(other.engine / ours(result).engine)} x)` : '';
};

/** The table of README.md: three cases, including one in which others are as fast. */
export function summary(record) {
  const titles = {
    '25 M, weight, local': 'half of 25 million weights',
    'ResNet-50, weight, global': 'half of the weights of ResNet-50, over all layers',
    'ResNet-50, filter, local': 'half of the filters of each layer of ResNet-50',
  };
  const others = ['numpy.partition', 'torch.kthvalue', 'fasterai'];
  const rows = Object.entries(titles).map(([title, words]) => {
    const found = record.cases.find((each) => titleOf(each) === title);
    return row([words, `**${milliseconds(ours(found).engine)}**`, ...others.map((name) => compared(found, name))]);
  });
  return [...head(['removing', ours(record.cases[0]).name, ...others.map((name) => `\`${name}\``)]), ...rows].join(
    '\n',
  );
}

/** The tables of docs/speed.md: times of engines with their ratios to ours, and of whole commands. */
export function tables(record) {
  const others = ['numpy.partition', 'torch.kthvalue', 'torch.nn.utils.prune', 'fasterai'];
  const [one, all, page] = record.cases[0].engines.filter(isOurs).map(({ name }) => name.replace('sparsifier, ', ''));
  const rows = record.cases.map((each) => {
    const own = ours(each);
    const named = (name) => each.engines.find((engine) => engine.name === name);
    const [first, inPage] = [one, page].map((where) => named(`sparsifier, ${where}`));
    return row([
      titleOf(each),
      milliseconds(first.engine),
      `**${milliseconds(own.engine)}**`,
      inPage ? milliseconds(inPage.engine) : '',
      milliseconds(own.copyIn + own.copyOut),
      ...others.map((name) => compared(each, name)),
    ]);
  });
  const { bytes, programs } = record.command;
  return [
    ...head(['half of', one, all, page, 'copies in and out', ...others.map((name) => `\`${name}\``)]),
    ...rows,
    '',
    ...head([`ONNX file of ${megabytes(bytes)} MB`, 'time', 'peak memory']),
    ...programs.map(({ name, time, peakMemory }) => row([name, milliseconds(time), `${megabytes(peakMemory)} MB`])),
    '',
    `${machineOf(record)}.`,
  ].join('\n');
}
