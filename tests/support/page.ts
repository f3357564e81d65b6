// What is in the text of a page, without a browser.

/** The text of markup, as one sees it. */
export const textIn = (markup: string): string =>
  markup
    .replace(/<[^>]*>/g, '')
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
    .trim();

/** The part of a page below a heading. */
export function sectionOf(page: string, heading: string): string {
  const sections = page.split(/<section\b[^>]*>/).slice(1);
  return sections.find((each) => textIn(/<h2>(.*?)<\/h2>/s.exec(each)?.[1] ?? '') === heading) ?? '';
}

/** The cells of a table by its name, the head first. */
export function cellsOf(page: string, name: string): string[][] {
  const [, table = ''] = new RegExp(`aria-label="${name}"[^>]*>\\s*<table>(.*?)</table>`, 's').exec(page) ?? [];
  return [...table.matchAll(/<tr\b[^>]*>(.*?)<\/tr>/gs)].map(([, row]) =>
    [...row!.matchAll(/<t([hd])\b[^>]*>(.*?)<\/t\1>/gs)].map(([, , cell]) => textIn(cell!)),
  );
}

/** The rows of the table as objects, by the names of the columns. */
export function rowsOf(page: string, name: string): Record<string, string>[] {
  const [head = [], ...rows] = cellsOf(page, name);
  return rows.map((cells) => Object.fromEntries(cells.map((cell, column) => [head[column]!, cell])));
}

/** The sentences below a heading. */
export const listIn = (page: string, heading: string): string[] =>
  [...sectionOf(page, heading).matchAll(/<li>(.*?)<\/li>/gs)].map(([, item]) => textIn(item!));
