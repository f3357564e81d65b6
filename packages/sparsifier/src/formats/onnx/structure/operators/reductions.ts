import { productOf, sumOf } from '../../../../model/numbers.js';
import type { Operator, Site } from '../site.js';
import { along } from './known.js';

/**
 * What is added up along axes, or averaged: a reader of their channels, or one that cannot do without them. All but `log`
 * make 0 of zeros.
 */
const reduction = (
  kind: 'sum' | 'mean' | 'product' | 'log',
  onList?: (numbers: readonly number[]) => number,
): Operator => ({
  channels: 'reduced',
  attributes: ['axes', 'keepdims', 'noop_with_empty_axes'],
  inputs: 2,
  shape: (site) => {
    const { shape } = site.input(0);
    const axes = reducedAxes(site);
    if (site.integer('keepdims', 1) !== 0) return [shape.map((size, axis) => (axes.has(axis) ? 1 : size))];
    return [shape.filter((_, axis) => !axes.has(axis))];
  },
  list: (site) => {
    const { list, shape } = site.input(0);
    if (reducedAxes(site).size === 0) return list;
    return list && onList && shape.length === 1 ? { ...list, numbers: [onList(list.numbers)] } : undefined;
  },
  couple: (site) => {
    const x = site.input(0);
    const axes = reducedAxes(site);
    for (const axis of axes) {
      const channels = x.axes[axis]!;
      if (kind === 'sum')
        site.flow.readers.push({
          title: site.title,
          operator: site,
          axis: channels,
          known: along(x, axis),
          weights: undefined,
          folds: false,
        });
      else site.block(x, [axis]);
    }
    if (site.integer('keepdims', 1) === 0) return [x.axes.filter((_, axis) => !axes.has(axis))];
    return [x.axes.map((ids, axis) => (axes.has(axis) ? site.coupling.fixed(1, site.title) : ids))];
  },
  constant: (site) => {
    const { known, shape } = site.input(0);
    const axes = reducedAxes(site);
    if (known === undefined || axes.has(known.axis) || kind === 'log') return undefined;
    const left = [...shape.keys()].filter((axis) => !axes.has(axis));
    const axis = site.integer('keepdims', 1) === 0 ? left.indexOf(known.axis) : known.axis;
    const numbers = kind === 'mean' ? known.numbers : known.numbers.map((number) => (number === 0 ? 0 : NaN));
    return { axis, numbers };
  },
});

function reducedAxes(site: Site): Set<number> {
  const { shape } = site.input(0);
  const given = site.listAt('axes', 1);
  if (given !== undefined && given.length > 0) return new Set(given.map((axis) => site.axis(axis, shape.length)));
  return site.integer('noop_with_empty_axes', 0) === 0 ? new Set(shape.keys()) : new Set();
}

export const reductions: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['ReduceSum', reduction('sum', sumOf)],
  ['ReduceMean', reduction('mean')],
  ['ReduceMax', reduction('mean', (numbers) => Math.max(...numbers))],
  ['ReduceMin', reduction('mean', (numbers) => Math.min(...numbers))],
  ['ReduceProd', reduction('product', productOf)],
  ['ReduceL1', reduction('sum')],
  ['ReduceL2', reduction('sum')],
  ['ReduceSumSquare', reduction('sum')],
  ['ReduceLogSum', reduction('log')],
  ['ReduceLogSumExp', reduction('log')],
]);
