import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { run } from '../support/command.js';

const example = (name: string) => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
const numberIn = (text: string, pattern: RegExp) => Number(pattern.exec(text)?.[1]);

// Takes more than 5 s: a network is trained.
test('In the example digits, training ends with the requested sparsity, and the network still recognises digits', async () => {
  const { code, stdout } = await run(process.execPath, [example('digits.mjs'), '--short'], { timeout: 300_000 });
  expect(code).toBe(0);
  expect(stdout).toContain('seed 1, 80 %: 16339 of 20424 weights removed, 16339 zeros in the model');
  expect(stdout).toContain('seed 1, 90 %: 18382 of 20424 weights removed, 18382 zeros in the model');
  // Guessing is right one time in ten.
  expect(numberIn(stdout, /^ {2}dense +([\d.]+) %$/m)).toBeGreaterThan(60);
  expect(numberIn(stdout, /^ {2}80 % +([\d.]+) %$/m)).toBeGreaterThan(60);
  expect(numberIn(stdout, /^ {2}80 %, ticket +([\d.]+) %$/m)).toBeGreaterThan(30);
}, 300_000);

// Takes more than 5 s: five networks run on real samples.
test('The example real-models removes half of the weights of each network and prints results before and after', async () => {
  const { code, stdout } = await run(process.execPath, [example('real-models.mjs'), '--short'], { timeout: 300_000 });
  expect(code).toBe(0);
  for (const [weights, removed] of [
    [673_952, 336_976],
    [221_572, 110_786],
    [16_625, 8312],
  ]) {
    expect(stdout).toMatch(new RegExp(`^ +0 % +0 of ${weights} weights removed +[\\d.]+$`, 'm'));
    expect(stdout).toMatch(new RegExp(`^ +50 % +${removed} of ${weights} weights removed +[\\d.]+$`, 'm'));
  }
  expect(numberIn(stdout, / 0 of 673952 weights removed +([\d.]+)/)).toBeGreaterThan(70);
  expect(numberIn(stdout, / 0 of 221572 weights removed +([\d.]+)/)).toBeGreaterThan(25);
  expect(numberIn(stdout, / 0 of 16625 weights removed +([\d.]+)/)).toBeGreaterThan(70);
  // Half of the dense layers of the network that reads text can go, but not half of all layers.
  const read = (which: string) => numberIn(stdout, new RegExp(`, ${which}\n.*\n +50 %.* removed +([\\d.]+)$`, 'm'));
  expect(read('only dense layers')).toBeGreaterThan(50);
  expect(read('all layers')).toBe(0);
}, 300_000);

// Takes more than 5 s: three networks are calibrated and run on real samples.
test('The example repair removes half of the weights of each network, and repairs make up for what that costs', async () => {
  const { code, stdout } = await run(process.execPath, [example('repair.mjs'), '--short'], { timeout: 600_000 });
  expect(code).toBe(0);
  const valuesOf = (title: string) => {
    const [, rows] = stdout.match(new RegExp(`^${title}.*\\n((?: .*\\n)+)`, 'm'))!;
    const of = (recipe: string) => numberIn(rows!, new RegExp(`^ {2}50 % +${recipe} +([\\d.]+) +[\\d.]+ s`, 'm'));
    return { mask: of('mask alone'), bias: of('bias'), solve: of('solve'), pruned: of('solve, pruned inputs') };
  };
  const lines = valuesOf('lines of text read without an error');
  expect(lines.mask).toBe(0);
  for (const repaired of [lines.bias, lines.solve, lines.pruned]) expect(repaired).toBeGreaterThan(50);
  const pictures = valuesOf('pictures halved and enlarged');
  expect(pictures.bias).toBeGreaterThan(pictures.mask);
  expect(pictures.solve).toBeGreaterThan(pictures.bias);
  const notes = valuesOf('notes of chords');
  expect(notes.solve).toBeGreaterThanOrEqual(notes.mask);
}, 600_000);

// Takes more than 5 s: the network is calibrated, and reads 48 lines.
test('The example repair-recogniser prints the rows that are asked for, with characters and seconds', async () => {
  const words = ['--seeds', '1', 'fluctuation, 50 % by layer, ', 'alone'];
  const { code, stdout } = await run(process.execPath, [example('repair-recogniser.mjs'), ...words], {
    timeout: 600_000,
  });
  expect(code).toBe(0);
  const rows = stdout.split('\n').filter((line) => line.startsWith('fluctuation'));
  expect(rows).toEqual([
    expect.stringMatching(/^fluctuation, 50 % by layer, mask alone +[\d.]+ %  [\d.]+ to [\d.]+  [\d.]+ s$/),
  ]);
}, 600_000);
