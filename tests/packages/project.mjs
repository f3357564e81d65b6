// A fresh project outside of the repository, with the packed tarball and the tools of a row.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { findNpm } from '../../scripts/pnpm.mjs';
import { contentOf, Failure, filesIn, root, run } from '../../scripts/steps.mjs';
import { mistakeIn } from './expected.mjs';
import { model } from './site.mjs';

export class Project {
  /** Results that were as expected. */
  outcomes = [];
  #ends = [];

  /** @param bytes the bytes of the pruned model as Node.js computes them */
  static async make({ tarball, bytes, packages, files }) {
    const project = new Project();
    project.bytes = bytes;
    project.folder = await realpath(await mkdtemp(join(tmpdir(), 'sparsifier-project-')));
    try {
      await project.add(...files);
      await cp(model, project.at('model.onnx'));
      await cp(tarball, project.at('sparsifier.tgz'));
      const own = JSON.parse(contentOf(project.at('package.json')) ?? '{}');
      await writeFile(
        project.at('package.json'),
        JSON.stringify({ name: 'fresh', private: true, type: 'module', ...own }),
      );
      const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
      await project.install('./sparsifier.tgz', ...wanted);
      return project;
    } catch (error) {
      await project.close();
      throw error;
    }
  }

  at(...names) {
    return join(this.folder, ...names);
  }

  /** Copies files, and the contents of folders, from the repository. */
  async add(...names) {
    for (const name of names) {
      const isFile = /\.\w+$/.test(basename(name));
      await cp(join(root, name), isFile ? this.at(basename(name)) : this.folder, { recursive: true });
    }
  }

  async write(name, text) {
    await mkdir(dirname(this.at(name)), { recursive: true });
    await writeFile(this.at(name), text);
  }

  async install(...packages) {
    const [npm, ...script] = findNpm();
    const options = ['--no-audit', '--no-fund', '--no-package-lock', '--prefer-offline', '--save-exact'];
    await this.command(npm, ...script, 'install', ...packages, ...options);
  }

  bin(name) {
    return this.at('node_modules', '.bin', name);
  }

  /** Runs a command to its end, and gives what it prints. */
  command(command, ...words) {
    return run(command, words, { cwd: this.folder, environment, minutes: 10 });
  }

  /** Starts a server, which ends with the project, and waits until it answers. @returns what it prints */
  async start(port, command, ...words) {
    const child = spawn(command, words, {
      cwd: this.folder,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its children end with it.
      detached: true,
    });
    let [printed, ended] = ['', false];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (printed += text));
    const end = new Promise((resolve) => child.on('close', resolve).on('error', resolve));
    void end.then(() => (ended = true));
    const stop = async () => {
      if (!ended) process.kill(-child.pid);
      await end;
    };
    this.#ends.push(stop);
    for (let tries = 0; !(await answers(port)); tries++) {
      if (ended || tries > 240) throw new Failure(`${command} ${words.join(' ')} did not start\n${printed}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    return { stop, printed: () => printed };
  }

  /** @throws Failure unless a result is as expected */
  expect(what, result, expected) {
    const mistake = mistakeIn(result, this.bytes, expected);
    if (mistake !== undefined) throw new Failure(`${what}: ${mistake}`);
    this.outcomes.push({ what, threads: expected.name });
  }

  /** @throws Failure unless a folder has the wasm of the package once */
  expectOneWasm(folder) {
    const own = readFileSync(this.at('node_modules/sparsifier/dist/wasm/sparsifier_wasm_bg.wasm'));
    const found = filesIn(this.at(folder)).filter((path) => readFileSync(path).equals(own));
    if (found.length !== 1) throw new Failure(`${folder} has the wasm ${found.length} times: ${found.join(', ')}`);
  }

  async close() {
    for (const end of this.#ends) await end();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Without what npm tells its scripts about this repository, and with the Node.js that runs this first. */
const environment = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_ENV|INIT_CWD)/.test(name))),
  PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
  CI: '1',
  NEXT_TELEMETRY_DISABLED: '1',
};

const answers = (port) =>
  fetch(`http://localhost:${port}/`).then(
    () => true,
    () => false,
  );

export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}
