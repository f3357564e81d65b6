import { printable } from '../printable.js';
import yoctoSpinner from 'yocto-spinner';

/** What a terminal shows while a command works. Nothing is shown in files and pipes, or beside JSON. */
export interface Spinner {
  show(text: string): void;
  /** Shows how far a stage has come. @param of what has stages at the same time as others */
  readonly onProgress: (
    progress: { readonly stage: string; readonly done: number; readonly total: number },
    of?: string,
  ) => void;
  stop(): void;
}

export function startSpinner(isSilent = false): Spinner {
  // It would end the process at a signal itself, before files are as they were: `signals.ts` does that.
  const options = { text: 'reading', handleSignals: false };
  const spinner = !isSilent && process.stderr.isTTY ? yoctoSpinner(options).start() : undefined;
  const stop = () => void spinner?.stop();
  // So that the cursor is seen again.
  if (spinner) process.once('exit', stop);
  const show = (text: string) => {
    if (spinner) spinner.text = printable(text);
  };
  const stages = new Map<string, string>();
  return {
    show,
    onProgress: ({ stage, done, total }, of = '') => {
      stages.set(of, `${of}${of && ': '}${stage} ${Math.round((100 * done) / total)} %`);
      show([...stages.values()].join(', '));
    },
    stop: () => {
      process.off('exit', stop);
      stop();
    },
  };
}
