import { SparsifyError } from '../errors.js';
import { isListOf } from '../options/check.js';
import { didYouMean } from '../options/spelling.js';
import { isRecurrent } from '../model/channels.js';
import {
  kinds,
  roles as allRoles,
  type Bias,
  type Kind,
  type Partner,
  type Role,
  type WeightTensor,
} from '../model/model.js';

/** How the axes of a weight are to be read. */
export type Layout = Pick<WeightTensor, 'kind' | 'roles' | 'shape' | 'groups'>;

/**
 * Checks the description of a weight.
 * @returns the number of output channels, over all groups
 * @throws SparsifyError `kind` if it is unknown, `format` if roles, shape and groups contradict each other
 */
export function checkLayout(subject: string, { kind, roles, shape, groups }: Layout): number {
  const wrong = (summary: string, details: object) => new SparsifyError('format', summary, { subject, ...details });
  if (!kinds.includes(kind))
    throw new SparsifyError('kind', 'unknown kind of layer', {
      subject,
      given: kind,
      allowed: [...kinds],
      hint: didYouMean([kind], kinds, 'kind'),
    });
  const isLists = isListOf(roles, (role) => allRoles.includes(role as Role)) && isListOf(shape, Number.isFinite);
  if (!isLists || roles.length !== shape.length || new Set(roles).size !== roles.length) {
    throw wrong('each axis must have a different role', {
      given: roles,
      found: isLists ? `shape [${shape.join(', ')}]` : shape,
      allowed: [...allRoles],
    });
  }
  if (!roles.includes('out')) throw wrong("one axis must have the role 'out'", { given: roles });
  if (!shape.every((size) => Number.isInteger(size) && size > 0))
    throw wrong('a shape must consist of positive integers', { given: shape });
  const sizeOf = (role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);
  const isTransposed = kind.startsWith('convTranspose');
  if (!Number.isInteger(groups) || groups < 1 || sizeOf(isTransposed ? 'in' : 'out') % groups !== 0) {
    throw wrong('the channels cannot be divided into this number of groups', {
      given: typeof groups === 'number' ? `groups ${groups}` : groups,
      found: `shape [${shape.join(', ')}]`,
    });
  }
  return sizeOf('out') * sizeOf('multiplier') * (isTransposed ? groups : 1);
}

/** The bias of a layer, if it is one of its partners. Layers that share a weight have several, of which none is taken. */
export function biasAmong(kind: Kind, partners: readonly Partner[]): { readonly bias?: Bias } {
  const biases = partners.filter(({ part }) => part === 'bias');
  const isAdded = kind !== 'embedding' && !isRecurrent(kind);
  return isAdded && biases.length === 1 ? { bias: { values: biases[0]!.values, sign: 1 } } : {};
}
