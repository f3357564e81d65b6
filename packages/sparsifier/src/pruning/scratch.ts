import type { Block, Engine } from '../engine/engine.js';
import { maskBytes, unitsOf, weightsOf } from '../engine/record.js';
import { scoresOnTheFly } from '../options/criteria.js';
import type { Job } from './job.js';

/** The memory that a call works with, beside the weights. */
export interface Scratch {
  readonly block: Block;
  /** For each job, offsets in the block. */
  readonly places: readonly Place[];
  /** Where the number of units to remove is, for each group. */
  readonly removesOffset: number;
  release(): void;
}

interface Place {
  readonly mask: number;
  readonly earlier: number | undefined;
  /** Undefined where scores are computed from the weights each time. */
  readonly scores: number | undefined;
  readonly other: number | undefined;
}

/** Allocates one block for all masks, scores that are stored, numbers to compare with, and the groups' counts. */
export async function layOut(
  engine: Engine,
  jobs: readonly Job[],
  groups: number,
  keepsScores: boolean,
): Promise<Scratch> {
  let end = 0;
  const take = (bytes: number): number => {
    const offset = end;
    end += Math.ceil(bytes / 16) * 16;
    return offset;
  };
  const places = jobs.map(({ units, recipe, earlier, other }): Place => {
    const count = unitsOf(units.axes);
    const onTheFly = !keepsScores && scoresOnTheFly(recipe) && count === weightsOf(units.axes);
    return {
      mask: take(maskBytes(count)),
      earlier: earlier && take(maskBytes(count)),
      scores: onTheFly ? undefined : take(count * 4),
      other: other && take(other.bytes.length),
    };
  });
  const removesOffset = take(groups * 4);
  const block = await engine.allocate(end);
  return { block, places, removesOffset, release: () => block.free() };
}
