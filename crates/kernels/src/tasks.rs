//! The one way to all threads. It is not generic over what is done: rayon's machinery is large, and each kind of loop
//! would bring a copy of it into the wasm.

use std::sync::Mutex;

use rayon::prelude::*;

use crate::error::{Error, reserve};

/// Calls `body` with each number below `count`, in any order, on all threads.
pub(crate) fn for_each(count: usize, body: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().for_each(body);
}

/// Calls `body` with each chunk of `size` and its number, in any order, on all threads.
pub(crate) fn for_chunks<T: Send>(
    slice: &mut [T],
    size: usize,
    body: &(dyn Fn(usize, &mut [T]) + Sync),
) -> Result<(), Error> {
    let mut chunks = reserve(slice.len().div_ceil(size))?;
    chunks.extend(slice.chunks_mut(size).map(Mutex::new));
    for_each(chunks.len(), &|index| {
        // Each chunk is asked for once, so nobody waits and no lock is poisoned.
        if let Ok(mut chunk) = chunks[index].lock() {
            body(index, &mut chunk);
        }
    });
    Ok(())
}
