// packages/sparsifier/api.md: the public API as text, with one namespace per entry point, so that a diff shows each
// change of it. `npm run api` writes the file.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { entryPoints } from './entry-points.mjs';
import { setUp } from './setup.mjs';
import { contentOf, Failure, main, packageFolder, root, step } from './steps.mjs';

const committed = join(packageFolder, 'api.md');

/** The API report of the built package. */
async function report() {
  // Imported here, because the packages are installed only after `npm run check` has started.
  const { Extractor, ExtractorConfig, ExtractorLogLevel } = await import('@microsoft/api-extractor');
  // In the package folder, because API Extractor treats files elsewhere as those of other packages.
  const folder = mkdtempSync(join(packageFolder, 'lib', 'api-'));
  try {
    const entry = join(folder, 'sparsifier.d.ts');
    const modules = entryPoints.map((name) => `export * as ${name.replace('/', '_')} from '../../dist/${name}.js';\n`);
    writeFileSync(entry, modules.join(''));
    const { compilerOptions } = JSON.parse(readFileSync(join(root, 'tsconfig.base.json'), 'utf8'));
    const none = { default: { logLevel: ExtractorLogLevel.None } };
    const configuration = ExtractorConfig.prepare({
      packageJsonFullPath: join(packageFolder, 'package.json'),
      configObjectFullPath: undefined,
      configObject: {
        projectFolder: packageFolder,
        mainEntryPointFilePath: entry,
        compiler: { overrideTsconfig: { compilerOptions, files: [entry] } },
        apiReport: {
          enabled: true,
          // A type that is not exported is part of the public API if an exported one refers to it.
          includeForgottenExports: true,
          reportFileName: 'sparsifier.api.md',
          reportFolder: folder,
          reportTempFolder: join(folder, 'temp'),
        },
        docModel: { enabled: false },
        dtsRollup: { enabled: false },
        tsdocMetadata: { enabled: false },
        newlineKind: 'lf',
        messages: { extractorMessageReporting: none, tsdocMessageReporting: none },
      },
    });
    const { succeeded } = Extractor.invoke(configuration, {
      localBuild: true,
      messageCallback: (message) => {
        // Only errors in the declarations are printed.
        message.handled = message.logLevel !== ExtractorLogLevel.Error;
      },
    });
    if (!succeeded) throw new Failure('API Extractor could not read the declarations of the package.');
    return readFileSync(join(folder, 'sparsifier.api.md'), 'utf8');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Fails if the committed report differs from that of the built package. */
export async function checkApi() {
  if ((await report()) === contentOf(committed)) return;
  throw new Failure(`The public API differs from packages/sparsifier/api.md.
If the change is intended, run npm run api and commit the result.`);
}

await main(import.meta, async () => {
  await build(await setUp());
  await step('packages/sparsifier/api.md: api-extractor', async () => writeFileSync(committed, await report()));
});
