import { Schedule, type ScheduleName } from 'sparsifier/training';
import { describe, expect, test } from 'vitest';
import { readJson } from '../support/files.js';
import { errorOf } from '../support/layers.js';

interface Golden {
  readonly percents: readonly number[];
  readonly 'fasterai-0.2.4': Readonly<
    Record<string, { readonly start_pct: number; readonly end_pct: number; readonly sparsity: number[] }>
  >;
}
const golden = await readJson<Golden>('golden/schedules.json');
const names: Readonly<Record<string, ScheduleName>> = {
  one_shot: 'oneShot',
  iterative: 'iterative',
  agp: 'agp',
  one_cycle: 'oneCycle',
  cos: 'cos',
  lin: 'linear',
  dsd: 'dsd',
};

describe('schedules', () => {
  test.each(Object.entries(names))("The schedule %s of fasterai is '%s' here", (old, name) => {
    const { start_pct: start, end_pct: end, sparsity } = golden['fasterai-0.2.4'][old]!;
    const schedule = Schedule[name]();
    expect({ start: schedule.start, end: schedule.end, name: schedule.scheduleName }).toEqual({ start, end, name });
    for (const [index, percent] of golden.percents.entries()) {
      expect(Math.abs(schedule(percent) - sparsity[index]! / 100), `${percent}`).toBeLessThanOrEqual(1e-12);
    }
  });

  test.each(Object.values(names))(
    'The schedule %s is 0 before its start, and keeps its last share from its end on',
    (name) => {
      const schedule = Schedule[name]({ start: 0.25, end: 0.75 });
      const last = name === 'dsd' ? 0 : 1;
      expect(schedule(0.2499)).toBe(0);
      for (const progress of [0.75, 0.8, 1]) expect(schedule(progress)).toBeCloseTo(last, 12);
      expect(schedule(0.5)).toBeGreaterThan(0);
      const middle = Schedule[name]()((Schedule[name]().start + Schedule[name]().end) / 2);
      expect(schedule(0.5)).toBeCloseTo(middle, 12);
    },
  );

  test.each([{ start: -0.1 }, { end: 1.1 }, { start: 0.8, end: 0.7 }, { start: NaN }])(
    'A schedule with %j is refused',
    async (options) => {
      const error = await errorOf(() => Schedule.agp(options));
      expect(error.code).toBe('usage');
      expect(error.message).toMatch(/agp.*between 0 and 1.*start/);
    },
  );

  test('The plot of a linear schedule is an image whose line goes from the lower left to the upper right', async () => {
    const svg = await Schedule.linear().plot();
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 640 400"/);
    expect(svg.match(/<(svg|style|title|text|path)\b/g)!.length).toBeGreaterThan(10);
    const [, path] = /data-series="0"[^>]* d="M([^"]+)"/.exec(svg)!;
    const points = path!.split('L').map((point) => point.split(',').map(Number) as [number, number]);
    expect(points).toHaveLength(201);
    for (const [index, [x, y]] of points.entries()) {
      expect(x).toBeCloseTo(60 + (564 * index) / 200, 0);
      expect(y).toBeCloseTo(352 - (316 * index) / 200, 0);
    }
  });
});
