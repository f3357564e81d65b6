// Where the compiler knows `Symbol.dispose`, models are closed by `using`.
import { readModel } from 'sparsifier/formats';

export async function sizeOf(path: string): Promise<number> {
  using model = await readModel(path);
  return (await model.bytes()).length;
}
