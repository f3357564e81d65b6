import type { ChannelStep } from '../engine/record.js';
import type { Kind, Role, WeightTensor } from './model.js';
import { productOf } from './numbers.js';

const sizeOf = ({ roles, shape }: WeightTensor, role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);

/** Whether an input position spreads over the output, instead of an output position gathering inputs. */
export const isTransposed = ({ kind }: WeightTensor): boolean => kind.startsWith('convTranspose');

/** How many input channels a layer has, over all groups. A transposed convolution stores them all on one axis. */
export const inputChannels = (tensor: WeightTensor): number =>
  sizeOf(tensor, 'in') * (isTransposed(tensor) ? 1 : tensor.groups);

/** How long the rows of a layer's inputs are: the input channels of each group, and the positions of the kernel. */
export const rowSizes = (tensor: WeightTensor) => ({
  groups: tensor.groups,
  inputs: inputChannels(tensor) / tensor.groups,
  kernel: [sizeOf(tensor, 'depth'), sizeOf(tensor, 'height'), sizeOf(tensor, 'width')] as const,
});

/** Whether each output channel of a convolution sees one input channel only, as in MobileNet. */
export const isDepthwise = (tensor: WeightTensor): boolean =>
  tensor.groups > 1 && inputChannels(tensor) === tensor.groups;

/** Whether the rows of a weight are those of gates. */
export const isRecurrent = (kind: Kind): boolean => kind === 'lstm' || kind === 'gru' || kind === 'rnn';

/** The note about a bias, or the like, of a recurrent layer. */
export const leftToGates = (name: string): string =>
  `${name} is left alone: a row of this weight is only one of the terms that its gate adds up`;

/** How a weight's stored position gives its input channel. */
export function channelSteps(tensor: WeightTensor): ChannelStep[] {
  const { roles, shape, groups } = tensor;
  const stride = (role: 'in' | 'out') => productOf(shape.slice(roles.indexOf(role) + 1));
  const nothing = { stride: 1, size: 1, factor: 0 };
  const channel = roles.includes('in') ? { stride: stride('in'), size: sizeOf(tensor, 'in'), factor: 1 } : nothing;
  if (isTransposed(tensor) || groups === 1) return [channel, nothing];
  return [
    channel,
    { stride: (stride('out') * sizeOf(tensor, 'out')) / groups, size: groups, factor: sizeOf(tensor, 'in') },
  ];
}
