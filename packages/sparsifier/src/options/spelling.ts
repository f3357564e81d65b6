/** A name as this package spells it: fasterai's `large_final` is `largeFinal`. */
export const withoutUnderscores = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
