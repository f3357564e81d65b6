// The table and the chart of README.md, from the record that bench/story.mjs keeps.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cellsOf, measures, titles } from '../../examples/support/story.mjs';
import { root } from '../../scripts/steps.mjs';
import { head, machineOf, row } from '../report.mjs';

export const recordFile = join(root, 'bench', 'story', 'record.json');

const recorded = () => JSON.parse(readFileSync(recordFile, 'utf8'));

const colours = ['#0550ae', '#8ccfa0', '#f0a868'];

export function story() {
  const record = recorded();
  return [...head(titles), ...record.rows.map((each) => row(cellsOf(each))), '', `${machineOf(record)}.`].join('\n');
}

/** Three columns of bars, with a line for each network. */
export function storyChart() {
  const { rows } = recorded();
  const [left, top, line, width, gap] = [276, 66, 24, 120, 76];
  const text = (x, y, content, more = '') => `<text x="${x}" y="${y}"${more}>${content}</text>`;
  const columns = measures.flatMap(({ title, of, inWords }, column) => {
    const x = left + column * (width + gap);
    const most = Math.max(...rows.map(of));
    return [
      text(x, 50, title, ' fill="#57606a"'),
      ...rows.flatMap((each, index) => {
        const [y, long] = [top + line * index, Math.round((width * of(each)) / most)];
        return [
          `<rect x="${x}" y="${y + 3}" width="${long}" height="${line - 6}" fill="${colours[column]}"/>`,
          text(x + long + 6, y + 16, inWords(of(each))),
        ];
      }),
    ];
  });
  const [wide, high] = [left + measures.length * (width + gap), top + line * rows.length + 18];
  const title = rows.map((each) => cellsOf(each).join(' ')).join('; ');
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${wide}" height="${high}" viewBox="0 0 ${wide} ${high}">
<title>A network that reads text: ${title}</title>
<rect width="${wide}" height="${high}" rx="8" fill="#fff"/>
<g font-family="system-ui, sans-serif" font-size="12" fill="#24292f">
${text(16, 28, 'A network that reads text, with 16 inputs and without training', ' font-size="15" font-weight="600"')}
${rows.map(({ title }, index) => text(left - 10, top + line * index + 16, title, ' text-anchor="end"')).join('\n')}
${columns.join('\n')}
</g>
</svg>
`;
}
