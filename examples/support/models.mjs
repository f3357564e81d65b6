// Real models of TensorFlow.js from npm packages, each with a measure of its quality on the same data for everyone.
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import vscode from '@vscode/vscode-languagedetection';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export { tf };

const packages = fileURLToPath(new URL('../../node_modules', import.meta.url));

/** The bytes of a model's files in a folder: its JSON, and the files with weights by their names. */
export function filesIn(folder) {
  const json = readFileSync(join(folder, 'model.json'));
  const { weightsManifest } = JSON.parse(json.toString());
  const paths = weightsManifest.flatMap(({ paths }) => paths);
  return { json, shards: new Map(paths.map((path) => [path, readFileSync(join(folder, path))])) };
}

const joined = ({ json, shards }) => {
  const content = JSON.parse(new TextDecoder().decode(json));
  const bytes = content.weightsManifest.flatMap(({ paths }) => paths.map((path) => Buffer.from(shards.get(path))));
  const all = Buffer.concat(bytes);
  return { content, data: all.buffer.slice(all.byteOffset, all.byteOffset + all.byteLength) };
};

/** For `tf.loadLayersModel` and `tf.loadGraphModel`. */
export function handlerOf(files) {
  const { content, data } = joined(files);
  const { weightsManifest, ...artifacts } = content;
  const weightSpecs = weightsManifest.flatMap(({ weights }) => weights);
  return { load: async () => ({ ...artifacts, weightSpecs, weightData: data }) };
}

const wave = (index, size) => Math.sin((2 * Math.PI * index) / size);

/** Recognises the programming language of a file: a GraphModel with quantised weights, run by its own package. */
export const languages = {
  title: 'languages of source files, accuracy in percent',
  folder: join(packages, '@vscode', 'vscode-languagedetection', 'model'),
  options: { layerType: 'all' },
  /** Files of packages whose versions the lock file pins: `count` for each language, by their extensions. */
  samples(count = 40) {
    const extensions = { '.js': 'js', '.ts': 'ts', '.json': 'json', '.md': 'md', '.html': 'html', '.css': 'css' };
    const found = new Map(Object.values(extensions).map((language) => [language, []]));
    const from = ['typescript', 'rollup', 'vitest', 'playwright', '@tensorflow/tfjs', '@tensorflow/tfjs-core', 'mnist'];
    for (const name of [...from, 'onnxruntime-web', '@upscalerjs/default-model', '@spotify/basic-pitch']) {
      if (!existsSync(join(packages, name))) continue;
      const folder = realpathSync(join(packages, name));
      const inside = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
        (path) => !/node_modules|\.min\./.test(path),
      );
      for (const path of inside.sort()) {
        const language = extensions[/\.\w+$/.exec(path)?.[0]];
        const list = found.get(language);
        // At most a quarter from one package, so that none dominates.
        if (!list || list.length >= count || list.filter((each) => each.startsWith(folder)).length >= count / 4)
          continue;
        if (readFileSync(join(folder, path)).length >= 400) list.push(join(folder, path));
      }
    }
    return [...found].flatMap(([language, paths]) =>
      paths.map((path) => ({ language, text: readFileSync(path, 'utf8').slice(0, 20_000) })),
    );
  },
  async open(files) {
    const { content, data } = joined(files);
    const model = new vscode.ModelOperations({
      modelJsonLoaderFunc: async () => content,
      weightsLoaderFunc: async () => data,
    });
    return { run: ({ text }) => model.runModel(text), dispose: () => model.dispose() };
  },
  async measure(files, samples) {
    const model = await this.open(files);
    let right = 0;
    for (const sample of samples) {
      const [best] = await model.run(sample);
      if (best?.languageId === sample.language) right++;
    }
    model.dispose();
    return (100 * right) / samples.length;
  },
};

/** Enlarges images to twice their size: a LayersModel. */
export const upscaler = {
  title: 'pictures halved and enlarged, PSNR in dB',
  folder: join(packages, '@upscalerjs', 'default-model', 'models'),
  options: {},
  /** Synthetic images of 64 x 64: waves of several lengths, a disc and bars. */
  samples(count = 3) {
    const side = 64;
    return Array.from({ length: count }, (_, picture) =>
      tf.tidy(() => {
        const values = new Float32Array(side * side * 3);
        for (let at = 0; at < values.length; at++) {
          const [x, y, colour] = [Math.floor(at / 3) % side, Math.floor(at / 3 / side), at % 3];
          const smooth = 60 * wave(x + 3 * colour, 23 + 9 * picture) + 50 * wave(y, 17 + 5 * colour);
          const disc = (x - 20 - 8 * picture) ** 2 + (y - 32) ** 2 < 150 ? 40 : 0;
          const bars = y > 44 && x % (6 + picture) < 3 ? 30 : 0;
          values[at] = Math.min(255, Math.max(0, 118 + smooth + disc + bars));
        }
        const whole = tf.tensor4d(values, [1, side, side, 3]);
        return { whole: tf.keep(whole), half: tf.keep(tf.avgPool(whole, 2, 2, 'valid')) };
      }),
    );
  },
  load: (files) => tf.loadLayersModel(handlerOf(files)),
  inputOf: ({ half }) => half,
  async open(files) {
    const model = await this.load(files);
    const run = async (sample) => {
      const enlarged = /** @type {tf.Tensor} */ (tf.tidy(() => model.predict(this.inputOf(sample))));
      const values = Float32Array.from(await enlarged.data());
      enlarged.dispose();
      return values;
    };
    return { run, dispose: () => model.dispose() };
  },
  async measure(files, samples) {
    const model = await this.open(files);
    const psnr = [];
    for (const sample of samples) {
      const enlarged = await model.run(sample);
      const whole = await sample.whole.data();
      const error = enlarged.reduce((sum, value, at) => sum + (Math.min(255, Math.max(0, value)) - whole[at]) ** 2, 0);
      psnr.push(10 * Math.log10(255 ** 2 / (error / whole.length)));
    }
    model.dispose();
    return psnr.reduce((a, b) => a + b) / psnr.length;
  },
};

/** Recognises notes in music: a GraphModel that begins with a transform, whose filters are fixed. */
export const pitch = {
  title: 'notes of chords, F1 in percent',
  folder: join(packages, '@spotify', 'basic-pitch', 'model'),
  options: { exclude: '*cq_t2010v2*' },
  /** Synthetic chords of two or three notes with five partials each, as long as the input of the network. */
  samples(count = 6) {
    const [rate, length] = [22_050, 43_844];
    return Array.from({ length: count }, (_, chord) => {
      const notes = [48 + 3 * chord, 55 + ((5 * chord) % 12), ...(chord % 2 ? [64 + ((7 * chord) % 12)] : [])];
      const sound = Float32Array.from({ length }, (_, at) => {
        const fade = Math.min(1, at / 400) * Math.exp(-at / rate);
        const tone = (note) => {
          const frequency = 440 * 2 ** ((note - 69) / 12);
          return [1, 2, 3, 4, 5].reduce((sum, part) => sum + wave(at * frequency * part, rate) / part ** 1.5, 0);
        };
        return 0.15 * fade * notes.reduce((sum, note) => sum + tone(note), 0);
      });
      return { notes, sound };
    });
  },
  /** The notes of a piano that are heard, from their probabilities in the frames of one input. */
  notesOf(probabilities) {
    const frames = probabilities.length / 88;
    const mean = (note) => {
      let sum = 0;
      for (let frame = Math.floor(frames / 8); frame < frames / 2; frame++) sum += probabilities[88 * frame + note];
      return sum / (frames * (3 / 8));
    };
    return Array.from({ length: 88 }, (_, note) => note)
      .filter((note) => mean(note) > 0.3)
      .map((note) => note + 21);
  },
  /** @param listen gives the probabilities of a sound */
  async score(listen, samples) {
    let [right, told, known] = [0, 0, 0];
    for (const { notes, sound } of samples) {
      const found = this.notesOf(await listen(sound));
      right += found.filter((note) => notes.includes(note)).length;
      told += found.length;
      known += notes.length;
    }
    return (200 * right) / (told + known);
  },
  load: (files) => tf.loadGraphModel(handlerOf(files)),
  inputOf: ({ sound }) => tf.tensor3d(sound, [1, sound.length, 1]),
  async open(files) {
    const model = await this.load(files);
    const outputs = ['Identity', 'Identity_1', 'Identity_2'];
    const run = async (sample) => tf.tidy(() => model.execute(this.inputOf(sample), outputs)[1].dataSync());
    return { run, dispose: () => model.dispose() };
  },
  async measure(files, samples) {
    const model = await this.open(files);
    const score = await this.score((sound) => model.run({ sound }), samples);
    model.dispose();
    return score;
  },
};
