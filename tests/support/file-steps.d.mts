export function onEachStep(before: (name: string) => void | Promise<void>, isAll?: boolean): () => void;
