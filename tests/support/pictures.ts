/** Dark strokes on white, as networks for text see them, in the shape that one wants; to others they are some numbers. */
export function strokes(shape: readonly number[]): Float32Array<ArrayBuffer> {
  const width = shape.at(-1)!;
  const height = shape.at(-2)!;
  const count = shape.reduce((product, size) => product * size, 1);
  return Float32Array.from({ length: count }, (_, index) => {
    const x = index % width;
    const y = Math.floor(index / width) % height;
    const isInside = x > 8 && x < width - 8 && y > 24 && y < 40;
    return isInside && (x % 8 < 3 || y % 16 < 3) ? -1.5 : 2;
  });
}
