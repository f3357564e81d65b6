import type { InferenceSession } from 'onnxruntime-node';
import type { Sample } from './recogniser.mjs';

/** The path of the model. */
export const file: string;
/** The percentage of lines that a session tells right, each shown both ways. */
export function measure(session: InferenceSession, samples: readonly Sample[]): Promise<number>;
