//! Of units that share the key of a cut: the canonical number below which so many of them lie.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::pass::TASK;
use crate::error::{Error, reserve};
use crate::keys::Piece;
use crate::segment::Segment;
use crate::tasks::for_each;

/// The canonical number below which exactly `ties` units have the key. `equal` have it in all.
pub(super) fn tie_bound(segment: &Segment, key: i32, ties: usize, equal: usize) -> Result<usize, Error> {
    let units = segment.axes.units();
    if ties == 0 || ties == equal {
        return Ok(if ties == 0 { 0 } else { units });
    }
    if equal == units {
        return Ok(ties);
    }
    // How many have it in each block of canonical numbers; then which in the block that holds the bound.
    let atomics = |count: usize| -> Result<Vec<AtomicU32>, Error> {
        let mut list = reserve(count)?;
        list.resize_with(count, AtomicU32::default);
        Ok(list)
    };
    let mut counts = atomics(units.div_ceil(TASK))?;
    for_runs(segment, key, 0..units, |Run { canonical, step, units, piece }| {
        let last = canonical + (units.len() - 1) * step;
        if step == 1 && canonical / TASK == last / TASK {
            counts[canonical / TASK].fetch_add(piece.count(units, key), Relaxed);
        } else {
            for place in units.clone().filter(|&unit| piece.key(unit) == key).map(|unit| unit - units.start) {
                counts[(canonical + place * step) / TASK].fetch_add(1, Relaxed);
            }
        }
    });
    let mut rest = ties;
    let mut block = 0;
    while rest > *counts[block].get_mut() as usize {
        rest -= *counts[block].get_mut() as usize;
        block += 1;
    }
    let mut bits = atomics(TASK / 32)?;
    for_runs(segment, key, block * TASK..(block + 1) * TASK, |Run { canonical, step, units, piece }| {
        for place in units.clone().filter(|&unit| piece.key(unit) == key).map(|unit| unit - units.start) {
            let number = canonical + place * step;
            if number / TASK == block {
                bits[number % TASK / 32].fetch_or(1 << (number % 32), Relaxed);
            }
        }
    });
    for (word, bits) in bits.iter_mut().enumerate() {
        let bits = bits.get_mut();
        let count = bits.count_ones() as usize;
        if rest <= count {
            for _ in 1..rest {
                *bits &= *bits - 1;
            }
            return Ok(block * TASK + word * 32 + bits.trailing_zeros() as usize + 1);
        }
        rest -= count;
    }
    Ok(units)
}

/// Units side by side in memory whose canonical numbers are `step` apart, from `canonical` on: some of a piece.
struct Run<'a> {
    canonical: usize,
    step: usize,
    units: Range<usize>,
    piece: &'a Piece<'a>,
}

/// Calls `act`, on all threads, with runs that hold all units with this key and a canonical number in the range, and
/// others.
fn for_runs(segment: &Segment, key: i32, numbers: Range<usize>, act: impl Fn(Run) + Sync) {
    let (length, step) = segment.axes.canonical_run();
    for_each(segment.tasks(), &|task| {
        segment.for_pieces(segment.range(task), |start, piece| {
            // Most often there is none, and this look is SIMD.
            let mut has_key = None;
            let mut done = 0;
            while done < piece.len() {
                let count = (length - (start + done) % length).min(piece.len() - done);
                let canonical = segment.axes.canonical_unit(start + done);
                let reaches = canonical < numbers.end && canonical + (count - 1) * step >= numbers.start;
                if reaches && *has_key.get_or_insert_with(|| piece.count(0..piece.len(), key) > 0) {
                    act(Run { canonical, step, units: done..done + count, piece: &piece });
                }
                done += count;
            }
        });
    });
}
