// npm test: all suites. npm test -- rust node: only these. The last line of the output is the total.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { build } from './build.mjs';
import { setUpFixtures } from './fixtures.mjs';
import { setUp } from './setup.mjs';
import { ask, environmentWith, Failure, main, root, seconds, show } from './steps.mjs';
import { setUpWasi } from './toolchain.mjs';

const results = join(root, 'tests', '.results');

const suites = {
  rust: testRust,
  wasm: testWasm,
  node: () => testWithVitest('node'),
  isolated: () => testWithVitest('isolated'),
  bare: () => testWithVitest('bare'),
};

await main(import.meta, async (asked) => {
  const unknown = asked.find((name) => !(name in suites));
  if (unknown) throw new Failure(`${unknown} is not a suite: ${Object.keys(suites).join(', ')}`);
  const names = asked.length > 0 ? asked : Object.keys(suites);

  const { toolchain, wasmTools } = await setUp({ chromium: names.includes('isolated') || names.includes('bare') });
  await build({ toolchain, wasmTools });
  if (names.includes('node')) await setUpFixtures();

  rmSync(results, { recursive: true, force: true });
  mkdirSync(results, { recursive: true });
  const total = { passed: 0, failed: 0, skipped: 0 };
  const lines = [];
  const failures = [];
  for (const name of names) {
    console.log(`\n--- ${name}`);
    const start = performance.now();
    const count = await suites[name](toolchain);
    for (const key in total) total[key] += count[key];
    lines.push(`${name}: ${inWords(count)}${count.trouble ? ` (${count.trouble})` : ''} ... ${seconds(start)}`);
    for (const failure of count.failures ?? []) failures.push(`--- failed in ${name}: ${failure}`);
  }
  // Last, since what the suites printed before may be cut off in a log.
  if (failures.length > 0) console.log(`\n${failures.join('\n\n')}`);
  console.log(`\n${lines.join('\n')}\n${inWords(total)}`);
  // The suite `wasm` says so where it cannot run.
  const ranTests = total.passed > 0 || total.skipped > 0;
  if (total.failed > 0 || !ranTests) process.exitCode = 1;
});

function inWords({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** A suite that failed without a failed test, or that ran no tests, counts as one failure. */
function judged(count, code) {
  if (code !== 0 && count.failed === 0) return { ...count, failed: 1, trouble: `ended with ${code}` };
  if (count.passed + count.failed === 0) return { ...count, failed: 1, trouble: 'no test ran' };
  return count;
}

async function testRust(toolchain) {
  // The kernels do not need nightly, so any installed cargo will do. Without one, use the cargo that builds the wasm.
  const own = (await ask('cargo', ['--version'])) ? [] : [toolchain.bin];
  return testWithCargo(environmentWith(own), []);
}

/** The same tests of the kernels on wasm, in Node, with the SIMD that ships. */
async function testWasm(toolchain) {
  const wasi = await setUpWasi(toolchain);
  if (wasi) return testWithCargo(wasi.environment, wasi.parameters);
  const trouble = `${toolchain.id} has no target wasm32-wasip1 here`;
  return { passed: 0, failed: process.env.CI ? 1 : 0, skipped: process.env.CI ? 0 : 1, trouble };
}

/** @param target what cargo is told of tests for another machine than this one, where the examples of docs run */
async function testWithCargo(environment, target) {
  const count = { passed: 0, failed: 0, skipped: 0, failures: [] };
  let code = 0;
  const cargo = async (...parameters) => {
    let output = '';
    const ended = await show('cargo', parameters, {
      environment: process.stdout.isTTY ? { ...environment, CARGO_TERM_COLOR: 'always' } : environment,
      listen: (text) => {
        output += text;
      },
    });
    const plain = stripVTControlCharacters(output);
    const counted = countRust(plain);
    if (ended !== 0 && counted.failed === 0) counted.failed = 1;
    for (const key in counted) count[key] += counted[key];
    count.failures.push(...failedRust(plain));
    code ||= ended;
  };
  const isNative = target.length === 0;
  if (await ask('cargo', ['nextest', '--version'], { environment })) {
    await cargo('nextest', 'run', '--no-fail-fast', ...target);
    if (isNative) await cargo('test', '--doc', '-p', 'sparsifier-kernels');
  } else {
    await cargo('test', '--no-fail-fast', ...(isNative ? [] : ['--tests']), ...target);
  }
  return judged(count, code);
}

/** Sums the summaries of nextest ("Summary [1 s] 3 tests run: 2 passed, 1 failed, 0 skipped") and of cargo test. */
function countRust(output) {
  const count = { passed: 0, failed: 0, skipped: 0 };
  const nextest = [...output.matchAll(/^ *Summary \[.*\] +\S+ tests? run: (.*)$/gm)].flatMap((match) =>
    match[1].replace(/\(.*?\)/g, '').split(','),
  );
  const libtest = [...output.matchAll(/^test result: \w+\. (.*?); \d+ measured/gm)].flatMap((match) =>
    match[1].split(';'),
  );
  for (const part of [...nextest, ...libtest]) {
    const [, number, word] = part.match(/(\d+) (.*\w)/);
    count[{ passed: 'passed', skipped: 'skipped', ignored: 'skipped' }[word] ?? 'failed'] += Number(number);
  }
  return count;
}

/** The names of failed tests, as nextest and cargo test print them. */
function failedRust(output) {
  const lines = output.matchAll(/^ *(?:FAIL|ABORT|SIGABRT|TIMEOUT) \[[^\]]*\] +(.*)$|^test (.*) \.\.\. FAILED$/gm);
  return [...new Set(Array.from(lines, ([, nextest, libtest]) => nextest ?? libtest))];
}

async function testWithVitest(project) {
  const file = join(results, `${project}.json`);
  const code = await show(process.execPath, [
    join(root, 'node_modules', 'vitest', 'vitest.mjs'),
    'run',
    '--config',
    join(root, 'tests', 'vitest.config.ts'),
    '--project',
    project,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${file}`,
  ]);
  const count = { passed: 0, failed: 0, skipped: 0 };
  if (!existsSync(file)) return judged(count, code);
  const report = JSON.parse(readFileSync(file, 'utf8'));
  count.passed = report.numPassedTests;
  // A file that cannot be loaded has no tests that could fail.
  const broken = report.testResults.filter(
    (result) => result.status === 'failed' && !result.assertionResults.some((test) => test.status === 'failed'),
  );
  count.failed = report.numFailedTests + broken.length;
  count.skipped = report.numPendingTests + report.numTodoTests;
  count.failures = [
    ...broken.map(({ name, message }) => `${relative(root, name)}\n${message}`),
    ...report.testResults.flatMap(({ name, assertionResults }) =>
      assertionResults
        .filter(({ status }) => status === 'failed')
        .map((test) => `${relative(root, name)}: ${test.fullName}\n${test.failureMessages.join('\n')}`),
    ),
  ];
  return judged(count, code);
}
