/** Puts files into the blocks of code that follow comments with their paths. */
export function withFiles(text: string): string;
