import { SparsifyError } from '../../errors.js';
import { isObject } from '../../model/json.js';
import type { Kind, Role } from '../../model/model.js';
import type { Check } from '../../options/check.js';

/** Describes a tensor whose name and shape are not enough. */
export interface LayerDescription {
  readonly kind: Kind;
  /**
   * One per axis, in stored order. By default those of PyTorch: out, in (for transposed convolutions in, out), then
   * spatial. A dense weight of three axes has experts first: out = expert, multiplier = output, in.
   */
  readonly roles?: readonly Role[];
  /** The number of groups of a convolution; 1 by default. */
  readonly groups?: number;
}

/** Descriptions by the name or a glob of tensors; `false` to exclude a tensor. Names take precedence over globs. */
export type LayerDescriptions = Readonly<Record<string, LayerDescription | false>>;

/** `usage` for anything but descriptions by name. */
export const someDescriptions: Check<LayerDescriptions> = (value, name) => {
  if (!isObject(value) || Symbol.iterator in value) {
    throw new SparsifyError('usage', `${name} are descriptions of tensors by their names or globs`, { given: value });
  }
  for (const [key, description] of Object.entries(value)) checkDescription(key, description as LayerDescription);
  return { ...value } as LayerDescriptions;
};

function checkDescription(key: string, description: LayerDescription | false): void {
  if (description === false) return;
  const known = ['kind', 'roles', 'groups'];
  const isKnown =
    isObject(description) &&
    typeof description.kind === 'string' &&
    Object.keys(description).every((key) => known.includes(key));
  if (isKnown && (description.roles === undefined || Array.isArray(description.roles))) return;
  throw new SparsifyError('usage', 'a tensor must be described by { kind, roles, groups }, or false to exclude it', {
    subject: key,
    given: description,
  });
}
