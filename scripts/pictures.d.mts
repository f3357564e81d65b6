export const folder: string;
export const speed: string;
export const reading: string;
export const coupled: string;
export function pictures(): Promise<Map<string, string>>;
export const textsWithTables: readonly string[];
export function withTables(text: string): string;
