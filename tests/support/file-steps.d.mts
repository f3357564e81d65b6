export function onEachStep(before: (name: string, flags?: string) => void | Promise<void>, isAll?: boolean): () => void;
