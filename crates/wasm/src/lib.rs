//! The boundary: every export of the project, and the reading of its arguments.
//!
//! Only numbers cross. A *table* is an array of records ([`Words`](record::Words)) in memory, one per tensor; each verb
//! takes a table and works through all its records, so that a model of many small layers is one call. Results go into
//! the records. The caller owns every block of memory, and nothing is kept after returning but where these blocks are
//! ([`blocks`]): whatever a request names has to lie in them. Requests are checked once, on entry, before any thread
//! starts; a status comes back: see [`Status`].
//!
//! `packages/sparsifier/src/engine/record.ts` writes the records; `engine/codes.ts` is made from `record.rs`.

mod blocks;
mod record;
mod repair;
mod table;

use sparsifier_kernels::{Cut, Error, try_for_each};
use wasm_bindgen::prelude::wasm_bindgen;

pub use wasm_bindgen_rayon::init_thread_pool;

use record::{crossed, crossing};
use table::{Recipe, Record, records};

/// What every verb returns: 0 when all is done, [`OUT_OF_MEMORY`], or [`BAD_REQUEST`] for a caller's mistake.
type Status = u32;
pub(crate) const DONE: Status = 0;
pub(crate) const OUT_OF_MEMORY: Status = 1;
pub(crate) const BAD_REQUEST: Status = 2;

/// See [`blocks::allocate`].
#[wasm_bindgen]
pub fn allocate(bytes: usize) -> usize {
    blocks::allocate(bytes)
}

/// See [`blocks::release`].
#[wasm_bindgen]
pub fn release(address: usize, bytes: usize) {
    blocks::release(address, bytes);
}

/// Counts each tensor's zeros and finds its first number that is not finite.
#[wasm_bindgen]
pub fn inspect(table: usize, count: usize) -> Status {
    run_apart(table, count, &|record| {
        let findings = sparsifier_kernels::inspect(record.numbers()?);
        record.set_findings(findings);
        Ok(())
    })
}

/// Writes the scores of each record that has room for them; where it has none, `select` and `mask` score on the fly.
#[wasm_bindgen]
pub fn score(table: usize, count: usize) -> Status {
    run_apart(table, count, &|record| {
        let axes = record.axes()?;
        let Some(scores) = record.scores_mut()? else { return Ok(()) };
        match record.recipe()? {
            Recipe::Random { seed, layer } => sparsifier_kernels::random(seed, layer, &axes, scores),
            Recipe::Weights { element, reducer, normalizer } => {
                sparsifier_kernels::score(record.elements(element)?, &axes, reducer, scores)?;
                normalizer.map_or(Ok(()), |normalizer| {
                    sparsifier_kernels::normalize(scores, &axes, record.earlier()?, normalizer)
                })
            }
        }
    })
}

/// Finds each record's cut. `removes` has one word per group: how many units it loses.
#[wasm_bindgen]
pub fn select(table: usize, count: usize, removes: usize, groups: usize) -> Status {
    inside_the_pool(&mut || {
        let mut records = records(table, count)?;
        let removes = table::words(removes, groups)?;
        let mut axes = list(count)?;
        let mut segments = list(count)?;
        let mut totals = list(groups)?;
        for record in &records {
            axes.push(record.axes()?);
        }
        for (record, axes) in records.iter().zip(&axes) {
            segments.push(record.segment(axes)?);
        }
        totals.extend(removes.iter().map(|&remove| remove as usize));
        let cuts = sparsifier_kernels::select(&segments, &totals)?;
        drop(segments);
        for (record, cut) in records.iter_mut().zip(cuts) {
            record.set_cut(cut);
        }
        Ok(())
    })
}

/// Counts one record's scores around the keys from `low` to `high` into the words at `counts`, and gathers those between
/// in the room for `length` scores.
#[wasm_bindgen]
pub fn survey(table: usize, low: u32, high: u32, counts: usize, room: usize, length: usize) -> Status {
    run(table, 1, &mut |record| {
        let axes = record.axes()?;
        let (counts, room) = (table::survey_mut(counts)?, table::floats_mut(room, length)?);
        sparsifier_kernels::survey(&record.segment(&axes)?, crossed(low), crossed(high), counts, room)?;
        // A word of memory, in which the key crosses as all do.
        counts.highest = crossing(counts.highest) as i32;
        Ok(())
    })
}

/// Writes each record's mask from its cut.
#[wasm_bindgen]
pub fn mask(table: usize, count: usize) -> Status {
    run_apart(table, count, &|record| {
        let axes = record.axes()?;
        let cut: Cut = record.cut();
        let bits = record.mask_mut()?;
        sparsifier_kernels::mask(&record.segment(&axes)?, cut, bits)
    })
}

/// Does what `mask` and `apply` do, where it can in one pass. Units that an earlier mask removed become zero, too.
#[wasm_bindgen]
pub fn remove(table: usize, count: usize) -> Status {
    inside_the_pool(&mut || {
        let mut records = records(table, count)?;
        let mut removals = list(count)?;
        let mut places = list(count)?;
        let mut masked = list(count)?;
        for (place, record) in records.iter_mut().enumerate() {
            if let Some(removal) = record.removal()? {
                removals.push(removal);
                places.push(place);
                continue;
            }
            let (axes, bits) = (record.axes()?, record.mask_mut()?);
            sparsifier_kernels::mask(&record.segment(&axes)?, record.cut(), bits)?;
            let mut both = None;
            if let Some(earlier) = record.earlier()? {
                let mut words = list(bits.len())?;
                words.extend(bits.iter().zip(earlier).map(|(word, earlier)| word & earlier));
                both = Some(words);
            }
            masked.push((place, axes, both));
        }
        // Nothing was changed so far.
        for (place, axes, both) in masked {
            let record = &mut records[place];
            let zeroed = match both {
                Some(words) => sparsifier_kernels::apply(record.numbers_mut()?, &axes, &words)?,
                None => sparsifier_kernels::apply(record.numbers_mut()?, &axes, record.mask()?)?,
            };
            record.set_zeroed(zeroed);
        }
        sparsifier_kernels::remove(&mut removals)?;
        for (place, removal) in places.into_iter().zip(removals) {
            let zeroed = removal.zeroed();
            records[place].set_zeroed(zeroed);
        }
        Ok(())
    })
}

/// Writes each record's mask of a fixed pattern, and counts the units that it removes.
#[wasm_bindgen]
pub fn nm(table: usize, count: usize) -> Status {
    run_apart(table, count, &|record| {
        let axes = record.axes()?;
        let bits = record.mask_mut()?;
        let highest = sparsifier_kernels::nm(&record.segment(&axes)?, record.pattern()?, bits)?;
        record.set_highest(highest);
        record.set_removed(bits.iter().map(|word| word.count_zeros() as usize).sum());
        Ok(())
    })
}

/// Takes out the numbers that each record's mask removes, and says how many these are.
#[wasm_bindgen]
pub fn save(table: usize, count: usize) -> Status {
    run(table, count, &mut |record| {
        let saved = sparsifier_kernels::save(record.numbers()?, &record.axes()?, record.mask()?, record.saved_mut()?)?;
        record.set_saved(saved);
        Ok(())
    })
}

/// Puts back what `save` took out with the same masks.
#[wasm_bindgen]
pub fn restore(table: usize, count: usize) -> Status {
    run(table, count, &mut |record| {
        sparsifier_kernels::restore(record.numbers_mut()?, &record.axes()?, record.mask()?, record.saved()?)
    })
}

/// Zeroes the weights that each record's mask removes, and counts its zeros.
#[wasm_bindgen]
pub fn apply(table: usize, count: usize) -> Status {
    run(table, count, &mut |record| {
        let axes = record.axes()?;
        let zeroed = sparsifier_kernels::apply(record.numbers_mut()?, &axes, record.mask()?)?;
        record.set_zeroed(zeroed);
        Ok(())
    })
}

/// Adds the products of the columns of a batch to sums: see [`repair::MomentsWords`].
#[wasm_bindgen]
pub fn moments(request: usize) -> Status {
    inside_the_pool(&mut || repair::moments(request))
}

/// Makes moments and means of sums: see [`repair::FinishWords`].
#[wasm_bindgen]
pub fn finish(request: usize) -> Status {
    inside_the_pool(&mut || repair::finish(request))
}

/// Fits the weights that one record's mask keeps to the outputs of dense ones: see [`repair::FitWords`].
#[wasm_bindgen]
pub fn fit(table: usize, request: usize) -> Status {
    run(table, 1, &mut |record| repair::fit(record, request))
}

/// Turns the sign of each record's 32-bit numbers: one pass over memory, which benchmarks compare the verbs with.
#[cfg(feature = "yardstick")]
#[wasm_bindgen]
pub fn pass(table: usize, count: usize) -> Status {
    run(table, count, &mut |record| match record.numbers_mut()? {
        sparsifier_kernels::NumbersMut::Float32(numbers) => {
            sparsifier_kernels::pass(numbers, -1.0);
            Ok(())
        }
        _ => Err(Error::Request("pass: numbers of 32 bits")),
    })
}

/// The product of two square matrices, which benchmarks compare `moments` and `fit` with.
#[cfg(feature = "yardstick")]
#[wasm_bindgen]
pub fn multiply(size: usize, left: usize, right: usize, product: usize) -> Status {
    inside_the_pool(&mut || {
        let count = size * size;
        let factors = [table::floats(left, count)?, table::floats(right, count)?];
        sparsifier_kernels::multiply(size, factors[0], factors[1], table::floats_mut(product, count)?);
        Ok(())
    })
}

/// Records of at most so many numbers are one task of each verb.
const FEW: usize = 1 << 16;

/// Calls a verb that changes nothing but what is a record's alone: its scores, its mask, words of the record itself. Small
/// records are worked on side by side, larger ones one after another, each by all threads.
fn run_apart(table: usize, count: usize, verb: &(dyn Fn(&mut Record) -> Result<(), Error> + Sync)) -> Status {
    inside_the_pool(&mut || {
        let mut records = records(table, count)?;
        let (mut small, mut large) = (list(count)?, list(count)?);
        for record in &mut records {
            if record.axes()?.weights() <= FEW { small.push(record) } else { large.push(record) }
        }
        try_for_each(&mut small, &|record| verb(record))?;
        large.into_iter().try_for_each(verb)
    })
}

/// Calls a verb that changes numbers, which several records may share: one record after another.
fn run(table: usize, count: usize, verb: &mut (dyn FnMut(&mut Record) -> Result<(), Error> + Send)) -> Status {
    inside_the_pool(&mut || records(table, count)?.iter_mut().try_for_each(&mut *verb))
}

/// Moves to a thread of the pool once, so that the many small parallel parts inside start without a hand-over.
// Not generic: one copy of rayon's way in for all verbs.
fn inside_the_pool(body: &mut (dyn FnMut() -> Result<(), Error> + Send)) -> Status {
    status(rayon::join(body, || ()).0)
}

/// An empty list with room for so many items.
fn list<T>(length: usize) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    items.try_reserve_exact(length).map_err(|_| Error::Memory { bytes: length.saturating_mul(size_of::<T>()) })?;
    Ok(items)
}

fn status(result: Result<(), Error>) -> Status {
    match result {
        Ok(()) => DONE,
        Err(Error::Memory { .. }) => OUT_OF_MEMORY,
        Err(Error::Request(_)) => BAD_REQUEST,
    }
}
