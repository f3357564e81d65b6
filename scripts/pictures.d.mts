export const folder: string;
export const speed: string;
export function pictures(): Promise<Map<string, string>>;
export function withTables(readme: string): string;
