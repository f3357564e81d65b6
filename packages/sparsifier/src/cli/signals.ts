import { abandonAll } from '../host/node-transaction.js';

/** What a shell calls the end of a command by a signal. */
const codes = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Lets signals end the command once what it has begun to write is removed. Files that are changing at that moment are all
 * changed, or changed back, first. A second signal ends the command at once.
 */
export function handleSignals(): void {
  let isEnding = false;
  for (const [signal, code] of Object.entries(codes)) {
    process.on(signal, () => {
      const waiting = isEnding ? undefined : abandonAll();
      isEnding = true;
      if (waiting === undefined) process.exit(code);
      void waiting.finally(() => process.exit(code));
    });
  }
}
