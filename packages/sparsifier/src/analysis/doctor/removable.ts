import { SparsifyError } from '../../errors.js';
import { removalOf, type FileModel } from '../../formats/file-model.js';
import { usualRounding } from '../../formats/removal.js';
import { sumOf } from '../../model/numbers.js';
import { inTurn } from '../../model/turns.js';

/** What goes with the channels that nothing needs. */
export interface Removable {
  readonly channels: number;
  /** How many numbers the model has, and how many without them. */
  readonly parameters: { readonly before: number; readonly after: number };
}

/** What `remove-channels` takes out of a network; undefined if that is nothing, or it cannot say without more options. */
export async function removableFrom(model: FileModel): Promise<Removable | undefined> {
  const request = { inputShapes: {}, protect: [], roundTo: usualRounding };
  try {
    const { groups, parameters } = await inTurn(model, async () => {
      const { removal, current } = removalOf(model);
      return (await removal.plan(request, current)).facts;
    });
    const channels = sumOf(groups.map((group) => group.channels - group.kept));
    return channels === 0 ? undefined : { channels, parameters };
  } catch (error) {
    // Other formats, and networks that are only followed for inputs of given shapes.
    if (error instanceof SparsifyError && error.code === 'usage') return undefined;
    throw error;
  }
}
