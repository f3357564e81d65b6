// Which code of the package inputs reach, and how many steps it takes there, by V8's own counters.
import { readFileSync } from 'node:fs';
import { Session, type Profiler } from 'node:inspector';
import { fileURLToPath } from 'node:url';

const dist = new URL('../../../packages/sparsifier/dist/', import.meta.url).href;

interface Script {
  /** 1 for each character that ran. */
  readonly ran: Uint8Array;
  /** Functions and the blocks in them that may run more or less often: where they begin. */
  readonly blocks: Map<string, number>;
}

/** What has run since the last look. */
export interface Taken {
  /** Whether any of it had not run before. */
  readonly isNew: boolean;
  /** How often functions were called and blocks were entered: the same on each machine. */
  readonly steps: number;
}

export interface Covered {
  readonly lines: number;
  readonly linesRun: number;
  readonly branches: number;
  readonly branchesRun: number;
  /** The lines that did not run: `formats/files.js:12: …`. */
  readonly missed: readonly string[];
}

/** Counts what runs of the package from now on. Blocks are counted in code that is loaded later. */
export class Coverage {
  readonly #session = new Session();
  readonly #scripts = new Map<string, Script>();

  constructor() {
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  take(): Taken {
    let isNew = false;
    let steps = 0;
    const { result } = this.#post('Profiler.takePreciseCoverage') as Profiler.TakePreciseCoverageReturnType;
    for (const { url, functions } of result) {
      if (!url.startsWith(dist)) continue;
      const script = this.#script(url, functions);
      const now = new Uint8Array(script.ran.length);
      // Outer functions come before those in them, and blocks before those in them.
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          now.fill(count > 0 ? 1 : 0, startOffset, endOffset);
          script.blocks.set(`${startOffset}-${endOffset}`, startOffset);
          steps += count;
        }
      }
      for (let at = 0; at < now.length; at++) {
        if (now[at] === 0 || script.ran[at] === 1) continue;
        script.ran[at] = 1;
        isNew = true;
      }
    }
    return { isNew, steps };
  }

  /** @param parts of the paths in `dist` of the files that are counted */
  of(parts: readonly string[]): Covered {
    const sum = { lines: 0, linesRun: 0, branches: 0, branchesRun: 0 };
    const missed: string[] = [];
    for (const [url, { ran, blocks }] of this.#scripts) {
      const path = url.slice(dist.length);
      if (!parts.some((part) => path.startsWith(part))) continue;
      let at = 0;
      for (const [place, line] of readFileSync(fileURLToPath(url), 'utf8').split('\n').entries()) {
        if (isCode(line)) {
          sum.lines++;
          if (ran.subarray(at, at + line.length).some((each, column) => each === 1 && line[column] !== ' '))
            sum.linesRun++;
          else missed.push(`${path}:${place + 1}: ${line.trim()}`);
        }
        at += line.length + 1;
      }
      sum.branches += blocks.size;
      sum.branchesRun += [...blocks.values()].filter((start) => ran[start] === 1).length;
    }
    return { ...sum, missed };
  }

  #script(url: string, functions: readonly Profiler.FunctionCoverage[]): Script {
    let script = this.#scripts.get(url);
    if (script === undefined) {
      const length = Math.max(...functions.flatMap(({ ranges }) => ranges.map(({ endOffset }) => endOffset)));
      script = { ran: new Uint8Array(length), blocks: new Map() };
      this.#scripts.set(url, script);
    }
    return script;
  }

  /** The answer is there when the call returns. */
  #post(method: string, parameters: object = {}): unknown {
    let answer: unknown;
    this.#session.post(method, parameters, (error, result) => {
      if (error) throw error;
      answer = result;
    });
    return answer;
  }
}

/** Whether a line has more than a comment, spaces and brackets. */
const isCode = (line: string): boolean => /\w/.test(line) && !/^\s*(\/\/|\/?\*)/.test(line);
