import type { Constant } from './graph.js';
import { placeOf } from './quantised.js';

/** Marks constants that share bytes of a file, where a change of one would change the other. */
export function markOverlaps(constants: readonly Constant[]): void {
  const placed = constants.flatMap((constant) => {
    const place = placeOf(constant.tensor);
    return place ? [{ constant, file: place.file, start: place.start, end: place.start + place.bytes }] : [];
  });
  placed.sort((a, b) => (a.file === b.file ? a.start - b.start : a.file < b.file ? -1 : 1));
  let last = placed[0];
  for (const next of placed.slice(1)) {
    if (next.file === last!.file && next.start < last!.end && next.start < next.end) {
      next.constant.overlaps = last!.constant;
      last!.constant.overlaps = next.constant;
    }
    if (next.file !== last!.file || next.end > last!.end) last = next;
  }
}
