//! A sample of keys, which tells about where a ranking is cut.

use crate::segment::Segment;
use crate::tasks::for_chunks;

/// A sample of so many units has this many keys, in runs of neighbours, since a place in memory costs more than a key. A
/// larger one takes longer and leaves fewer units in the bracket: the sum is least near the power of two thirds.
pub(super) const fn sample_size(units: usize) -> usize {
    1 << (units.ilog2() * 2 / 3 + 1)
}

/// Groups of fewer units are counted without a sample.
pub(super) const SAMPLED: usize = 1 << 12;

pub(super) const SAMPLE_RUN: usize = 16;

const SAMPLE_TASK: usize = 1 << 12;

/// How many standard deviations of the cut's place in the sample the bracket reaches to each side: it misses one time in
/// sixteen thousand, which costs time only.
pub(super) const DEVIATIONS: f64 = 4.0;

/// And so many keys more, which counts where the cut is near an end.
pub(super) const MARGIN: usize = 8;

/// There is room to gather half as many units again as a bracket around the median of a sample leaves, in blocks.
pub(super) fn candidates_of(units: usize) -> usize {
    let size = sample_size(units);
    let keys = (DEVIATIONS * (size as f64).sqrt()) as usize + 2 * MARGIN;
    (units as u64 * keys as u64 * 3 / 2 / size as u64) as usize
}

/// Fills the sample with keys of the members' units, in runs of neighbours from places picked evenly at random. `first_run`
/// picks other places.
pub(super) fn fill_sample(sample: &mut [i32], segments: &[Segment], members: &[usize], first_run: usize) {
    let units: usize = members.iter().map(|&index| segments[index].axes.units()).sum();
    let runs = sample.len() / SAMPLE_RUN;
    for_chunks(sample, SAMPLE_TASK, &|task, keys| {
        let (mut member, mut first) = (0, 0);
        for (run, mut keys) in keys.chunks_mut(SAMPLE_RUN).enumerate() {
            let mut place = sampled_place(task * SAMPLE_TASK / SAMPLE_RUN + run, runs, units, first_run);
            // A run may lie in several segments.
            while !keys.is_empty() {
                let segment = &segments[members[member]];
                if place - first >= segment.axes.units() {
                    first += segment.axes.units();
                    member += 1;
                    continue;
                }
                let count = keys.len().min(segment.axes.units() - (place - first));
                let own = keys.split_off_mut(..count).unwrap_or_default();
                segment.keys_at(place - first, own);
                place += count;
            }
        }
    });
}

/// Where the run of a sample begins: one from each of equal stretches, at a place given by a multiplicative hash, the same
/// for every call. `first` is added to what is hashed.
pub(super) fn sampled_place(run: usize, runs: usize, units: usize, first: usize) -> usize {
    let from = (run as u64 * units as u64 / runs as u64) as usize;
    let width = ((run + 1) as u64 * units as u64 / runs as u64) as usize - from;
    from + ((first + run) as u32).wrapping_mul(2_654_435_769) as usize % (width - SAMPLE_RUN + 1)
}
