import { writeFile } from 'node:fs/promises';

const usual = { target: 'es2022', strict: true, noEmit: true, skipLibCheck: false };
const modules = { node16: 'node16', bundler: 'esnext' };
/** What a program knows of its host. */
const hosts = {
  dom: { files: ['consumer.ts'], options: { lib: ['es2022', 'dom'], types: [] } },
  node: { files: ['consumer.ts'], options: { lib: ['es2022'], types: ['node'] } },
  disposable: {
    files: ['consumer.ts', 'using.ts'],
    options: { lib: ['es2022', 'dom', 'esnext.disposable'], types: [] },
  },
};

export default ['5.7', '5.9', '7.0'].map((version) => ({
  name: `typescript${version.replace('.', '')}`,
  title: `TypeScript ${version}`,
  where: 'module resolutions node16 and bundler; es2022 with dom or with @types/node',
  files: ['tests/packages/typescript'],
  async run(project) {
    for (const [moduleResolution, module] of Object.entries(modules)) {
      for (const { files, options } of Object.values(hosts)) {
        const compilerOptions = { ...usual, module, moduleResolution, ...options };
        await writeFile(project.at('tsconfig.json'), JSON.stringify({ compilerOptions, files }));
        await project.command(project.bin('tsc'), '--project', 'tsconfig.json');
      }
    }
  },
}));
