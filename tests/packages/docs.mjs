// The parts of docs/bundlers.md that are made: the table of what passed, and the files of examples/recipes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../scripts/steps.mjs';

export const guide = join(root, 'docs', 'bundlers.md');

/** Puts files into the blocks of code that follow comments with their paths. */
export const withFiles = (text) =>
  text.replace(/(<!-- (examples\/\S+) -->\n```\w+\n)[^]*?```/g, (_, start, path) => {
    return `${start}${readFileSync(join(root, path), 'utf8')}\`\`\``;
  });

const head = ['| with | version | what ran | threads |', '|---|---|---|---|'];

/**
 * Puts the results of rows into the table. Rows that did not run keep their lines.
 * @param rows all rows, in their order
 * @param results the version and the threads of those that ran, by name
 */
export const withResults = (text, rows, results) =>
  text.replace(/(<!-- table -->\n)([^]*)(<!-- end of table -->)/, (_, start, before, end) => {
    const old = new Map(before.split('\n').map((line) => [line.split(' | ')[0].slice(2), line]));
    const lines = rows.flatMap(({ name, title, where }) => {
      const result = results.get(name);
      if (!result) return old.get(title) ?? [];
      return `| ${title} | ${result.version} | ${where} | ${result.threads} |`;
    });
    return `${start}${[...head, ...lines].join('\n')}\n${end}`;
  });
