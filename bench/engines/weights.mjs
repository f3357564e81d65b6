// What engines in JavaScript share: cutting a file of weights into tensors, and what is told of their answer.

/** Views of each tensor, given all weights and the tensors' shapes. */
export function tensorsOf(weights, shapes) {
  let at = 0;
  return shapes.map((shape) => {
    const length = shape.reduce((a, b) => a * b);
    return { shape, data: weights.subarray(at, (at += length)) };
  });
}

/** How many weights are zero, and the sum of the magnitudes that are left. */
export function look(weights) {
  let zeros = 0;
  let left = 0;
  for (const weight of weights) {
    if (weight === 0) zeros++;
    else left += Math.abs(weight);
  }
  return { zeros, left };
}
