/** Where the package has its wasm: built, this module lies beside it. In the form that bundlers follow. */
export const wasmAddress = (): URL => new URL('sparsifier_wasm_bg.wasm', import.meta.url);
