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

/// Calls `body` with the chunks of two slices that have as many, in any order, on all threads; on this one where memory
/// has no room for the list of chunks, since a change that began must not stop.
pub(crate) fn for_chunk_pairs<A: Send, B: Send>(
    first: &mut [A],
    first_size: usize,
    second: &mut [B],
    second_size: usize,
    body: &OnPairs<A, B>,
) {
    let count = first.len().div_ceil(first_size);
    let pairs = first.chunks_mut(first_size).zip(second.chunks_mut(second_size));
    let Ok(mut chunks) = reserve(count) else {
        return pairs.enumerate().for_each(|(index, (first, second))| body(index, first, second));
    };
    chunks.extend(pairs.map(Mutex::new));
    for_each(count, &|index| {
        // Each pair is asked for once, so nobody waits and no lock is poisoned.
        if let Ok(mut pair) = chunks[index].lock() {
            let (first, second) = &mut *pair;
            body(index, first, second);
        }
    });
}

/// Calls `body` with each chunk of `size` and its number, as [`for_chunk_pairs`] does.
pub(crate) fn for_chunks<T: Send>(slice: &mut [T], size: usize, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
    let mut nothing = vec![(); slice.len().div_ceil(size)];
    for_chunk_pairs(slice, size, &mut nothing, 1, &|index, chunk, _| body(index, chunk));
}

/// Calls `body` with each item, in any order, on all threads; gives the first item's error, of those that have one.
pub fn try_for_each<T: Send>(
    items: &mut [T],
    body: &(dyn Fn(&mut T) -> Result<(), Error> + Sync),
) -> Result<(), Error> {
    let first = Mutex::new((usize::MAX, Ok(())));
    for_chunks(items, 1, &|index, item| {
        let result = item.iter_mut().try_for_each(body);
        if result.is_err()
            && let Ok(mut first) = first.lock()
            && index < first.0
        {
            *first = (index, result);
        }
    });
    first.into_inner().map_or(Ok(()), |(_, result)| result)
}
