import { countOf, encodingInWords, encodings, type Encoding } from '../fit/target.js';
import { filesOfAny, type ByteCounts } from '../formats/sizes.js';
import { percent, percentOf, formatted } from '../pruning/text.js';
import { html, type Content } from './html.js';
import type { PageModels } from './layers.js';
import type { Part } from './parts.js';
import { plainTable } from './tables.js';

/** The bytes of files before and after; what is undefined is not known. */
export interface BeforeAndAfter {
  readonly before: Partial<ByteCounts>;
  readonly after: Partial<ByteCounts>;
}

/** What is known of the sizes of files: from the models, from the reports, and from what was given. */
export async function sizesOf(
  parts: readonly Part[],
  { before, after }: PageModels,
  given: { readonly before?: ByteCounts | undefined; readonly after?: ByteCounts | undefined },
): Promise<BeforeAndAfter> {
  const rawOf = async (model: PageModels['before']) => {
    const files = model && (await filesOfAny(model));
    return files && { raw: files.bytes };
  };
  // The first of them that says something about the model before, and the last about the one now.
  return {
    before: Object.assign({}, await rawOf(before), ...[...parts].reverse().map((part) => part.before), given.before),
    after: Object.assign({}, await rawOf(after), ...parts.map((part) => part.after), given.after),
  };
}

/** The sizes in large numbers, and all of them. @param asked how bytes were to be counted */
export function sizesHeading({ before, after }: BeforeAndAfter, asked: Encoding | undefined): Content {
  const isKnown = (encoding: Encoding) =>
    before[countOf[encoding]] !== undefined && after[countOf[encoding]] !== undefined;
  const known = encodings.filter((encoding) => after[countOf[encoding]] !== undefined);
  const main = asked ?? encodings.find(isKnown) ?? known[0];
  if (main === undefined) return undefined;
  const [was, is] = [before[countOf[main]], after[countOf[main]]!];
  const isCounted = after.gzip !== undefined;
  const row = (encoding: Encoding) => {
    const [from, to] = [before[countOf[encoding]], after[countOf[encoding]]!];
    return [
      encodingInWords[encoding],
      ...(from === undefined
        ? ['', formatted(to), '']
        : [formatted(from), formatted(to), percent(percentOf(to, from))]),
    ];
  };
  return [
    html`<p class="size">${was === undefined ? '' : html`${inUnits(was)} <span>to</span> `}${inUnits(is)}</p>
      <p class="small">
        ${encodingInWords[main]}${was === undefined ? '' : `, ${percent(percentOf(is, was))} of what it was`}
      </p> `,
    isCounted || was !== is
      ? ''
      : html`<p class="small">Zeros make only compressed files smaller, whose bytes were not counted.</p>`,
    html`<div class="sizes">
      ${plainTable('Bytes of all files', [['bytes of all files', 'before', 'after', 'share'], ...known.map(row)], [1, 4])}
    </div>`,
  ];
}

/** `10.8 MB`: three digits. */
function inUnits(bytes: number): string {
  const [unit, size] = bytes >= 1e6 ? ['MB', 1e6] : bytes >= 1e3 ? ['kB', 1e3] : ['bytes', 1];
  return `${bytes < 1e3 ? bytes : (bytes / (size as number)).toPrecision(3)} ${unit as string}`;
}
