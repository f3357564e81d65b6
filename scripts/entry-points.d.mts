/** The ones that users import, which have types: the names of their files in src, without `.ts`. */
export const entryPoints: readonly string[];
