import { SparsifyError } from '../../errors.js';

/** How much the bodies of local functions may amount to: nodes, inputs, outputs and attributes, counted once per call. */
const mostParts = 1_000_000;

/** The most local functions that call each other in turn. */
const deepestCall = 50;

/** How much the bodies of local functions amount to that a model calls. */
export class Inlined {
  #parts = 0;

  /** @param subject the name of the file */
  constructor(readonly subject: string) {}

  /**
   * Counts a body.
   * @param depth how many calls contain it
   * @throws SparsifyError `format` if the bodies amount to more than a file should ask for
   */
  add(depth: number, parts: number): void {
    this.#parts += parts;
    if (depth <= deepestCall && this.#parts <= mostParts) return;
    const words = 'nodes, inputs, outputs and attributes';
    throw new SparsifyError('format', 'the local functions of the model call each other too often', {
      subject: this.subject,
      found: depth > deepestCall ? `${depth} calls inside each other` : `${this.#parts} ${words}`,
      allowed: [`${deepestCall} calls inside each other`, `${mostParts} ${words}`],
    });
  }
}
