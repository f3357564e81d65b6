import { inspect } from 'sparsifier';
import { fromArrays } from 'sparsifier/formats/arrays';
import { sensitivity } from 'sparsifier/sensitivity';
import { expect, test } from 'vitest';
import { hostileNames } from '../support/hostile-names.js';
import { line, values } from '../support/layers.js';

const parsed = (svg: string) => new DOMParser().parseFromString(svg, 'image/svg+xml');

test.each([...Object.entries(hostileNames), ['all of it', Object.values(hostileNames).join('')] as const])(
  'A plot of layers whose names have %s is well-formed, and shows no element of theirs',
  async (_, name) => {
    const model = fromArrays({ [name]: line(values(6)), other: line(values(5)), third: line(values(4)) });
    const plot = await (await sensitivity(model, () => 1, { levels: [50] })).plot();
    const document = parsed(plot);
    expect(document.querySelector('parsererror')?.textContent).toBeUndefined();
    expect(document.documentElement.localName).toBe('svg');
    expect(document.querySelectorAll('script, foreignObject')).toHaveLength(0);
    const titles = [...document.querySelectorAll('path > title')].map((title) => title.textContent);
    expect(titles).toHaveLength(3);
    expect(titles.slice(1)).toEqual(['other', 'third']);
    expect((await inspect(model)).layers[0]!.name).toBe(name);
  },
);

test('A parser refuses a plot with a control character, so that the tests above can fail', () => {
  expect(
    parsed('<svg xmlns="http://www.w3.org/2000/svg"><title>\u0001</title></svg>').querySelector('parsererror'),
  ).not.toBe(null);
});
