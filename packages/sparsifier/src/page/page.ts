import { attempt, SparsifyError } from '../errors.js';
import { curveRows, estimatesLine } from '../fit/made-report.js';
import type { FitReport } from '../fit/report.js';
import { countOf, encodings } from '../fit/target.js';
import type { ByteCounts } from '../formats/sizes.js';
import { isObject } from '../model/json.js';
import { checkModel, type Model } from '../model/model.js';
import { aSignal, being, optionsOf, type Shape } from '../options/check.js';
import { formatted } from '../pruning/text.js';
import { libraryWords } from '../pruning/warnings.js';
import { curvePlot } from './curve.js';
import { html, lines, Markup, named, sentence, type Content } from './html.js';
import { layersOf } from './layers.js';
import { layerMap } from './map.js';
import { partOf, type NamedReason, type PageReport, type Part } from './parts.js';
import { histogramPicture, maskPicture } from './pictures.js';
import { sizesHeading, sizesOf } from './sizes.js';
import { style } from './style.js';
import { layerTable, plainTable, rowsOf } from './tables.js';
import { weightsOf } from './weights.js';

/** What a page has besides reports. */
export interface ReportPageOptions {
  /** The heading, such as the name of the file; `model` by default. */
  readonly title?: string | undefined;
  /** The model as it was. Most calls change a model in memory, so read its files once more for this. */
  readonly before?: Model | undefined;
  /** The model as it is now. With it, the page has the bytes of layers, histograms of weights and pictures of masks. */
  readonly after?: Model | undefined;
  /** What `sizes()` returned, where reports do not have it. */
  readonly sizes?: { readonly before?: ByteCounts | undefined; readonly after?: ByteCounts | undefined } | undefined;
  /** Ends the call with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const aModel = (value: unknown): Model => {
  checkModel(value);
  return value as Model;
};
const isCounts = (value: unknown): boolean =>
  isObject(value) && encodings.every((encoding) => typeof value[countOf[encoding]] === 'number');

const pageShape: Shape<ReportPageOptions> = {
  title: being('a text', (value) => typeof value === 'string'),
  before: aModel,
  after: aModel,
  sizes: being(
    'what `sizes()` returned, as `before` and `after`',
    (value) => isObject(value) && [value.before, value.after].every((each) => each === undefined || isCounts(each)),
  ),
  signal: aSignal,
};

/**
 * The text of an HTML page about what was done to a model: its bytes before and after, a map of its layers, what `fit`
 * tried, weights and masks, warnings and notes. It is one file that loads nothing and has no scripts. The same reports and
 * models give the same text. The models are read, and not changed.
 * @param reports that of `fit`, `sparsifyModel`, `repair`, `quantize` or `removeChannels`, also if it was JSON in between; or
 *   those of several calls on one model, in their order
 * @throws SparsifyError `usage` for what is no report, for unknown options and for models that are closed; the signal's
 *   reason if aborted
 */
export async function reportPage(
  reports: PageReport | readonly PageReport[],
  options: ReportPageOptions = {},
): Promise<string> {
  const given = optionsOf(options, pageShape);
  const parts = attempt('the reports', () => partsOf(reports));
  if (parts.length === 0) throw new SparsifyError('usage', 'a page is made of at least one report');
  return pageOf(parts, given);
}

function partsOf(reports: PageReport | readonly PageReport[]): Part[] {
  const list = (Array.isArray(reports) ? reports : [reports]) as readonly PageReport[];
  const parts: Part[] = [];
  // By index, which ends at the first hole of a list.
  for (let index = 0; index < list.length; index++) parts.push(partOf(list[index]!, libraryWords));
  return parts;
}

/** The same for what is known of the reports. */
export async function pageOf(
  parts: readonly Part[],
  { title = 'model', before, after, sizes = {}, signal }: ReportPageOptions,
): Promise<string> {
  signal?.throwIfAborted();
  const models = { before, after };
  const layers = await layersOf(parts, models);
  const rows = rowsOf(layers);
  const { histograms, masks } = await weightsOf(layers, models, signal);
  const fits = parts.flatMap(({ fit }) => (fit === undefined ? [] : [fit]));
  return page(title, {
    header: [
      html`<p class="small">${parts.map((part) => part.title).join(', then ')}</p> `,
      sizesHeading(await sizesOf(parts, models, sizes), fits[0]?.encoding),
    ],
    main: [
      warningsIn(parts),
      section(
        'What was done',
        parts.flatMap((part) => [
          ...titled(part, parts),
          listOf(part.facts, part.facts.every((fact) => fact.length <= shortFact) ? 'facts' : undefined),
        ]),
      ),
      section('Map of the layers', layerMap(layers, rows)),
      ...fits.map((fit) =>
        section('What was tried', [
          curvePlot(fit),
          settingsTable(fit),
          ...estimatesLine(fit.curve).map((line) => html`<p>${line}</p>`),
        ]),
      ),
      section('Weights', histograms.length > 0 && [weightsKey, pictures(histograms.map(histogramPicture))]),
      section('Masks', masks.length > 0 && [masksKey, pictures(masks.map(maskPicture))]),
      section('Layers', layerTable(layers, rows), 'layers'),
      section(
        'What was left, and why',
        parts.flatMap(({ left }) => left.map(({ title, items }) => [html`<h3>${title}</h3>`, ...withReasons(items)])),
      ),
      section('Notes', listOf([...new Set(parts.flatMap(({ notes }) => notes))])),
      section('Details', [
        ...parts.flatMap(({ recipe }) => (isObject(recipe) ? [folded('Recipe', json(recipe))] : [])),
        ...parts.map((part) =>
          folded(`The report as text${parts.length > 1 ? `: ${part.title}` : ''}`, firstLines(part.text)),
        ),
      ]),
    ],
  }).text;
}

const page = (title: string, { header, main }: { readonly header: Content; readonly main: Content }): Markup =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} - report</title>
        <style>
          ${new Markup(style)}
        </style>
      </head>
      <body>
        <a class="skip" href="#layers">Skip to the table of layers</a>
        <header>
          <h1>${named(title)}</h1>
          ${header}
        </header>
        <main>${main}</main>
      </body>
    </html> `;

/** A part of the page below its heading; nothing if it is empty. */
const section = (heading: string, content: Content | false, id?: string): Content =>
  content === false || isEmpty(content)
    ? undefined
    : html`<section${id === undefined ? '' : html` id="${id}"`}>
<h2>${heading}</h2>
${content}
</section>
`;

const isEmpty = (content: Content): boolean =>
  content instanceof Markup
    ? content.text === ''
    : Array.isArray(content)
      ? content.every(isEmpty)
      : content === undefined;

function warningsIn(parts: readonly Part[]): Content {
  const warnings = parts.flatMap((part) => part.warnings);
  if (warnings.length === 0) return undefined;
  const heading = warnings.length === 1 ? 'Warning' : `${warnings.length} warnings`;
  return html`<section class="warnings">
    <h2>${heading}</h2>
    ${listOf(warnings)}
  </section> `;
}

function settingsTable({ curve, chosen }: FitReport): Markup {
  const rows = curveRows(curve, chosen);
  return plainTable('Settings', rows, [1, rows[0]!.length - 1]);
}

/** The title of a part where there are several. */
const titled = ({ title }: Part, parts: readonly Part[]): Markup[] =>
  parts.length > 1 ? [html`<h3>${title}</h3>`] : [];

const listOf = (sentences: readonly string[], look?: 'facts'): Markup =>
  sentences.length === 0
    ? html``
    : html`<ul${look === undefined ? '' : html` class="${look}"`}>
        ${sentences.map((each) => html`<li>${sentence(each)}</li>`)}
      </ul>`;

/** Facts that are no longer follow each other in a row. */
const shortFact = 60;

/** Of longer lists of names only the beginning is shown. */
const mostNames = 1000;

/** The names that have the same reason together; many of them are shown when they are asked for. */
function withReasons(items: readonly NamedReason[]): Markup[] {
  const groups = new Map<string, string[]>();
  for (const { name, reason } of items) {
    const names = groups.get(reason);
    if (names === undefined) groups.set(reason, [name]);
    else names.push(name);
  }
  return [...groups].map(([reason, names]) => {
    const [first = '', ...others] = names;
    if (others.length === 0) return html`<p>${named(first)}: ${sentence(reason)}</p>`;
    const rest = names.length - mostNames;
    return html`<details>
      <summary>${formatted(names.length)}: ${sentence(reason)}</summary>
      <ul class="names">
        ${names.slice(0, mostNames).map((name) => html`<li>${named(name)}</li>`)}
        ${rest > 0 ? html`<li>and ${formatted(rest)} more</li>` : ''}
      </ul>
    </details>`;
  });
}

const pictures = (drawn: readonly Markup[]): Markup => html`<div class="pictures">${drawn}</div>`;

const weightsKey = html`<p>
  The largest layers that changed, by the values that their weights had: <i class="key kept"></i> kept,
  <i class="key removed"></i> became 0. A dashed line is the cut.
</p> `;
const masksKey = html`<p>
  Weights that are <i class="key kept"></i> kept and <i class="key hole"></i> 0. Outputs go down, inputs across.
</p> `;

/** Text that is shown when it is asked for. */
const folded = (title: string, text: Markup): Markup =>
  html`<details>
    <summary>${title}</summary>
    <pre tabindex="0">${text}</pre>
  </details> `;

/** Still JSON with the characters that cannot be seen as escapes. */
const json = (value: object): Markup =>
  lines(
    JSON.stringify(value, null, 2).replace(
      /[\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Noncharacter_Code_Point}\u007f-\u009f]/gu,
      (character) =>
        Array.from(
          { length: character.length },
          (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
        ).join(''),
    ),
  );

/** Reports of very many layers are longer than a page should be. */
const mostLines = 5000;

function firstLines(text: string): Markup {
  const all = text.split('\n');
  const rest = all.length - mostLines;
  return lines([...all.slice(0, mostLines), ...(rest > 0 ? [`… and ${formatted(rest)} more lines`] : [])].join('\n'));
}
