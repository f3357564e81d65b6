// Makes each step of writing files count: each call of the file system by this process from now on.
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const changing = ['chmod', 'link', 'mkdir', 'rename', 'rm', 'rmdir'];
const looking = ['lstat', 'readdir', 'readFile', 'realpath', 'stat'];
const ofHandles = ['chmod', 'close', 'datasync', 'stat', 'sync', 'write', 'writeFile'];
const writing = files.constants.O_WRONLY | files.constants.O_RDWR;
const real = Object.fromEntries([...changing, ...looking, 'open'].map((name) => [name, files[name]]));

/**
 * @param before is told the name of each step before it is made, and the flags of an open file; what it throws is thrown in
 *   place of the step
 * @param isAll whether steps count that only look at files
 * @returns makes everything as it was
 */
export function onEachStep(before, isAll = true) {
  for (const name of isAll ? [...changing, ...looking] : changing) {
    files[name] = async (...words) => {
      await before(name);
      return real[name](...words);
    };
  }
  files.open = async (place, flags, ...words) => {
    const counts = isAll || (flags !== 'r' && (typeof flags === 'string' || (flags & writing) !== 0));
    if (counts) await before('open');
    const handle = await real.open(place, flags, ...words);
    for (const name of counts ? ofHandles : []) {
      const step = handle[name].bind(handle);
      handle[name] = async (...given) => {
        try {
          await before(name, flags);
        } catch (error) {
          // A system that cannot close a file has closed it all the same.
          if (name === 'close') await step();
          throw error;
        }
        return step(...given);
      };
    }
    return handle;
  };
  syncBuiltinESMExports();
  return () => {
    Object.assign(files, real);
    syncBuiltinESMExports();
  };
}
