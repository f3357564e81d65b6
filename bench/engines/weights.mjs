// Shared by engines in JavaScript: splitting a file of weights into tensors, and figures of the result.

/** A view of each tensor, given all weights and the shapes of the tensors. */
export function tensorsOf(weights, shapes) {
  let at = 0;
  return shapes.map((shape) => {
    const length = shape.reduce((a, b) => a * b);
    return { shape, data: weights.subarray(at, (at += length)) };
  });
}

/** The number of zeros, and the sum of the remaining magnitudes. */
export function look(weights) {
  let zeros = 0;
  let left = 0;
  for (const weight of weights) {
    if (weight === 0) zeros++;
    else left += Math.abs(weight);
  }
  return { zeros, left };
}
