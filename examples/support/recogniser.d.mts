import type { InferenceSession, Tensor } from 'onnxruntime-node';

/** The path of the model. */
export const file: string;
/** A line of text, and what models take as their inputs. */
export interface Sample {
  readonly text: string;
  readonly feeds: { readonly x: Tensor };
}
/** Numbers from 0 to 1. */
export function randomOf(seed: number): () => number;
export function textOf(random: () => number): string;
export function lines(count: number, seed?: number): Sample[];
/** The percentage of lines that a session reads without an error, apart from spaces. */
export function readRight(session: InferenceSession, samples: readonly Sample[]): Promise<number>;
export function readAll(session: InferenceSession, samples: readonly Sample[]): Promise<string[]>;
/** The percentage of the characters of some texts that others keep. */
export function keptCharacters(texts: readonly string[], others: readonly string[]): number;
