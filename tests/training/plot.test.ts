import { describe, expect, test } from 'vitest';
import { linePlot, ruled } from '../support/internal.js';

const plot = { title: 'plot', xLabel: 'x', yLabel: 'y' };
const pathsOf = (svg: string) => [...svg.matchAll(/data-series="\d+"[^>]* d="M([^"]+)"/g)].map(([, path]) => path!);

describe('a picture has a limited size', () => {
  test('A line of a million points keeps its first, lowest, highest and last point', () => {
    const points = Array.from(
      { length: 1_000_000 },
      (_, x) => [x, x === 500_001 ? -3 : x === 500_002 ? 9 : 0] as const,
    );
    const svg = linePlot({ ...plot, series: [{ name: 'line', points }] });
    expect(svg.length).toBeLessThan(100_000);
    const drawn = pathsOf(svg)[0]!
      .split('L')
      .map((point) => point.split(',').map(Number));
    expect(drawn.length).toBeLessThanOrEqual(2560);
    expect([drawn[0]![0], drawn.at(-1)![0]]).toEqual([60, 624]);
    const levels = drawn.map(([, y]) => y!);
    // From the axis up, -4 to 10 in the height of the plot.
    expect(Math.max(...levels) - Math.min(...levels)).toBeCloseTo((316 * 12) / 14, 0);
  });

  test('Of many lines those that reach highest are drawn, and the others are counted', () => {
    const series = Array.from({ length: 200_000 }, (_, index) => ({
      name: `line ${index}`,
      points: [[0, 0] as const, [1, index % 1000 === 7 ? 5 : 1 - index / 1e6] as const],
    }));
    const svg = linePlot({ ...plot, series });
    expect(svg.length).toBeLessThan(200_000);
    expect(pathsOf(svg)).toHaveLength(200);
    expect(svg).toContain('<title>line 7</title>');
    expect(svg).toContain('<title>line 199007</title>');
    expect(svg).not.toContain('<title>line 0</title>');
    expect(svg).toContain('and 199800 lower ones');
  });

  test('A plot of few lines and points shows all of them', () => {
    const points = Array.from({ length: 2560 }, (_, x) => [x, x % 7] as const);
    const svg = linePlot({ ...plot, series: [{ name: 'line', points }] });
    expect(pathsOf(svg)[0]!.split('L')).toHaveLength(points.length);
    expect(svg).not.toContain('lower ones');
  });
});

test('A table may have more rows than a function takes arguments', () => {
  const rows = Array.from({ length: 300_000 }, (_, index) => [`row ${index}`, `${index}`]);
  const lines = ruled([['name', 'number'], ...rows], { head: 1, body: rows.length, from: 1 });
  expect(lines).toHaveLength(rows.length + 2);
  expect([lines[0], lines[2], lines.at(-1)]).toEqual([
    'name        number',
    'row 0            0',
    'row 299999  299999',
  ]);
});
