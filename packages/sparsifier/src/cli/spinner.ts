import yoctoSpinner from 'yocto-spinner';

/** What a terminal shows while a command works. Nothing is shown in files and pipes, or beside JSON. */
export interface Spinner {
  show(text: string): void;
  /** Shows how far a stage has come. */
  readonly onProgress: (progress: { readonly stage: string; readonly done: number; readonly total: number }) => void;
  stop(): void;
}

export function startSpinner(isSilent = false): Spinner {
  const spinner = !isSilent && process.stderr.isTTY ? yoctoSpinner({ text: 'reading' }).start() : undefined;
  const show = (text: string) => {
    if (spinner) spinner.text = text;
  };
  return {
    show,
    onProgress: ({ stage, done, total }) => show(`${stage} ${Math.round((100 * done) / total)} %`),
    stop: () => spinner?.stop(),
  };
}
