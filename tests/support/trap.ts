import { readBytes } from './files.js';

/** A multiplier of Philox, as the kernel of the criterion `random` has it: an i64.const in signed LEB128. */
const multiplier = [0x42, 0xd3, 0xbe, 0xc4, 0x92, 0x0d];

/** `unreachable`, which traps, and as many `nop` as it takes. */
const trap = [0x00, 0x01, 0x01, 0x01, 0x01, 0x01];

/** The package's wasm, but for one kernel: in place of drawing random numbers it traps. */
export async function trappingWasm(): Promise<Uint8Array<ArrayBuffer>> {
  const wasm = await readBytes('../packages/sparsifier/dist/wasm/sparsifier_wasm_bg.wasm');
  let changed = 0;
  for (let at = wasm.indexOf(multiplier[0]!); at >= 0; at = wasm.indexOf(multiplier[0]!, at + 1)) {
    if (!multiplier.every((byte, place) => wasm[at + place] === byte)) continue;
    wasm.set(trap, at);
    changed++;
  }
  if (changed === 0) throw new Error('the kernel that draws random numbers was not found');
  return wasm;
}
