import { SparsifyError } from '../errors.js';
import { kinds, roles as allRoles, type Role, type WeightTensor } from '../model/model.js';

/** What the numbers of a weight stand for. */
export type Layout = Pick<WeightTensor, 'kind' | 'roles' | 'shape' | 'groups'>;

/**
 * Checks what a caller says of a weight.
 * @returns how many output channels it has, over all groups
 * @throws SparsifyError `kind` for an unknown one, `format` where roles, shape and groups contradict each other
 */
export function checkLayout(subject: string, { kind, roles, shape, groups }: Layout): number {
  const wrong = (summary: string, details: object) => new SparsifyError('format', summary, { subject, ...details });
  if (!kinds.includes(kind))
    throw new SparsifyError('kind', 'unknown kind of layer', { subject, given: kind, allowed: [...kinds] });
  if (
    roles.length !== shape.length ||
    new Set(roles).size !== roles.length ||
    !roles.every((role) => allRoles.includes(role))
  ) {
    throw wrong('each axis has one role of its own', {
      given: roles,
      found: `shape [${shape.join(', ')}]`,
      allowed: [...allRoles],
    });
  }
  if (!roles.includes('out')) throw wrong('one axis has the role out', { given: roles });
  if (!shape.every((size) => Number.isInteger(size) && size > 0))
    throw wrong('a shape consists of whole numbers above 0', { given: shape });
  const sizeOf = (role: Role) => (roles.includes(role) ? shape[roles.indexOf(role)]! : 1);
  const isTransposed = kind.startsWith('convTranspose');
  if (!Number.isInteger(groups) || groups < 1 || sizeOf(isTransposed ? 'in' : 'out') % groups !== 0) {
    throw wrong('the channels do not divide into groups', {
      given: `groups ${groups}`,
      found: `shape [${shape.join(', ')}]`,
    });
  }
  return sizeOf('out') * sizeOf('multiplier') * (isTransposed ? groups : 1);
}
