//! The one way to all threads. It is not generic over what is done: rayon's machinery is large, and each kind of loop
//! would bring a copy of it into the wasm.

use std::sync::Mutex;

use rayon::prelude::*;

use crate::error::{Error, reserve};

/// Calls `body` with each number below `count`, in any order, on all threads.
pub(crate) fn for_each(count: usize, body: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().for_each(body);
}

type OnPairs<'a, A, B> = dyn Fn(usize, &mut [A], &mut [B]) + Sync + 'a;

/// Calls `body` with the chunks of two slices that have as many, in any order, on all threads.
pub(crate) fn for_chunk_pairs<A: Send, B: Send>(
    first: &mut [A],
    first_size: usize,
    second: &mut [B],
    second_size: usize,
    body: &OnPairs<A, B>,
) -> Result<(), Error> {
    let mut chunks = reserve(first.len().div_ceil(first_size))?;
    chunks.extend(first.chunks_mut(first_size).zip(second.chunks_mut(second_size)).map(Mutex::new));
    for_each(chunks.len(), &|index| {
        // Each pair is asked for once, so nobody waits and no lock is poisoned.
        if let Ok(mut pair) = chunks[index].lock() {
            let (first, second) = &mut *pair;
            body(index, first, second);
        }
    });
    Ok(())
}

/// Calls `body` with each chunk of `size` and its number, in any order, on all threads.
pub(crate) fn for_chunks<T: Send>(
    slice: &mut [T],
    size: usize,
    body: &(dyn Fn(usize, &mut [T]) + Sync),
) -> Result<(), Error> {
    let mut none = reserve(slice.len().div_ceil(size))?;
    none.resize(slice.len().div_ceil(size), ());
    for_chunk_pairs(slice, size, &mut none, 1, &|index, chunk, _| body(index, chunk))
}
