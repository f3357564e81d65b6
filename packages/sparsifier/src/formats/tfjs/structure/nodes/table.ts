import type { NodeRule } from '../node.js';
import { arrangingNodes } from './arranging.js';
import { convolutionNodes } from './convolutions.js';
import { elementwiseNodes } from './elementwise.js';

/** The operators of TensorFlow through which channels are followed. All others keep the channels that they touch. */
export const nodeRules: ReadonlyMap<string, NodeRule> = new Map(
  Object.entries({ ...arrangingNodes, ...convolutionNodes, ...elementwiseNodes }),
);
