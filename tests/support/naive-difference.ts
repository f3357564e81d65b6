// What differs between two lists of numbers, as one would write it down.

export const naiveDifference = (a: readonly number[], b: readonly number[]) => {
  const squares = (numbers: readonly number[]) => numbers.reduce((sum, each) => sum + each ** 2, 0);
  const differences = a.map((each, index) => each - b[index]!);
  const products = a.map((each, index) => each * b[index]!);
  return {
    numbers: a.length,
    changed: differences.filter((each) => each !== 0).length,
    maxDifference: Math.max(...differences.map(Math.abs)),
    relativeRms: Math.sqrt(squares(differences) / squares(a)),
    cosine: products.reduce((sum, each) => sum + each, 0) / Math.sqrt(squares(a) * squares(b)),
    zeros: { a: a.filter((each) => each === 0).length, b: b.filter((each) => each === 0).length },
  };
};

/** In how many rows of this many numbers the largest one is at another place. */
export function naiveArgmax(a: readonly number[], b: readonly number[], size: number) {
  const places = (numbers: readonly number[]) =>
    Array.from({ length: numbers.length / size }, (_, row) => {
      const line = numbers.slice(row * size, (row + 1) * size);
      return line.indexOf(Math.max(...line));
    });
  const other = places(b);
  return { rows: other.length, changed: places(a).filter((place, row) => place !== other[row]).length };
}
