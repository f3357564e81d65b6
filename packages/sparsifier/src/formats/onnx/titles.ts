import type { Node } from './graph.js';

/** The operator of a node, and its name if it has one. */
export const title = ({ op, name }: Node): string => (name === '' ? brief(op) : `${brief(op)} ${brief(name)}`);

/** The most characters of a name in a sentence. Many sentences may have the same name. */
const longestName = 200;

/** A name in a sentence. */
export const brief = (name: string): string => (name.length > longestName ? `${name.slice(0, longestName)}...` : name);
