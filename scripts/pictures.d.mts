export const folder: string;
export function pictures(): Promise<Map<string, string>>;
