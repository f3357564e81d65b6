import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** README.md and the pages of docs/, by their paths in the repository or in an installed package. */
export const guidesIn = (folder: string): string[] => [
  'README.md',
  ...readdirSync(join(folder, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/** The code blocks of a text in one language. */
export const blocksIn = (text: string, language: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, code]) => code!);

const withoutBlocks = (text: string) => text.replace(/^```.*?^```$/gms, '');

/** The targets of a text's links and pictures within its folder. */
export const linksIn = (text: string): string[] =>
  [
    ...withoutBlocks(text)
      .replace(/`[^`\n]*`/g, '')
      .matchAll(/\]\(([^)\s]+)\)/g),
  ]
    .map(([, target]) => target!)
    .filter((target) => !/^\w+:/.test(target));

/** How GitHub makes anchors of headings. */
const anchorsIn = (text: string): string[] =>
  [...withoutBlocks(text).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** The links of a file that lead to no file below the folder, or to no heading of it. */
export function brokenLinks(folder: string, name: string): string[] {
  const textOf = (file: string) => readFileSync(join(folder, file), 'utf8');
  return linksIn(textOf(name)).filter((target) => {
    const [path, anchor] = target.split('#') as [string, string | undefined];
    const file = path === '' ? name : join(dirname(name), path);
    if (file.startsWith('..') || !existsSync(join(folder, file))) return true;
    return anchor !== undefined && !anchorsIn(textOf(file)).includes(anchor);
  });
}
