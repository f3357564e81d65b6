//! The cut that removes exactly as many units as asked.
//!
//! Scores become keys, whole numbers in the same order, and the k-th smallest key is found digit by digit from counts:
//! three passes over the scores, whatever their distribution, and nothing as large as the scores is allocated.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use crate::axes::Axes;
use crate::error::{Error, reserve};
use crate::mask::is_kept;
use crate::score::Elements;

/// The units of one tensor that take part in a selection.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// One score per unit, in stored order of the units.
    pub scores: Elements<'a>,
    pub axes: &'a Axes,
    /// The mask of an earlier call: units that it removed rank below all others.
    pub earlier: Option<&'a [u32]>,
    /// Segments of one group share one ranking, in the order they are listed.
    pub group: usize,
    /// The largest number of units that may be removed here.
    pub limit: usize,
}

/// Where a segment's ranking is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// How many units go.
    pub removed: usize,
    /// Units with a smaller key go.
    pub key: u32,
    /// Of the units with this very key those go whose canonical number is smaller than this.
    pub bound: usize,
    /// Whether `key` and `bound` remove exactly `removed` units. False where `limit` held the segment back: its own cut
    /// is then found by selecting it alone.
    pub settled: bool,
}

/// Keys are read this many at a time.
const BUFFER: usize = 1024;

/// A task's units. A multiple of [`BUFFER`].
const TASK: usize = 1 << 16;

/// Upper digits, in order: how far right they lie, and how many bits they have.
const DIGITS: [(u32, u32); 3] = [(21, 11), (10, 11), (0, 10)];
const BINS: usize = 1 << 11;

/// A whole number that orders like the score; -0 and +0 are one. Removed units have key 0, which no score has.
pub(crate) fn key_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    bits ^ ((bits as i32 >> 31) as u32 | 0x8000_0000)
}

impl Segment<'_> {
    fn check(&self, groups: usize) -> Result<(), Error> {
        let units = self.axes.units();
        let fits = self.scores.len() == units
            && self.earlier.is_none_or(|mask| mask.len() == crate::mask::words_for(units))
            && self.group < groups
            && self.limit <= units
            && u32::try_from(units).is_ok();
        if fits { Ok(()) } else { Err(Error::Request("select: a segment's parts disagree")) }
    }

    pub(crate) fn key_at(&self, unit: usize) -> u32 {
        if self.earlier.is_some_and(|mask| !is_kept(mask, unit)) { 0 } else { key_of(self.scores.at(unit)) }
    }

    /// Fills `keys` with those of the units from `start` on, a multiple of 32.
    pub(crate) fn fill_keys(&self, start: usize, keys: &mut [u32]) {
        self.scores.fill(start, keys, key_of);
        if let Some(mask) = self.earlier {
            for (keys, &word) in keys.chunks_mut(32).zip(&mask[start / 32..]) {
                if word != u32::MAX {
                    for (bit, key) in keys.iter_mut().enumerate() {
                        *key &= 0u32.wrapping_sub(word >> bit & 1);
                    }
                }
            }
        }
    }

    /// Calls `use_keys` with all keys of units in `task`'s range, a buffer at a time.
    fn for_keys(&self, task: usize, mut use_keys: impl FnMut(&[u32])) {
        let end = self.axes.units().min((task + 1) * TASK);
        let mut buffer = [0; BUFFER];
        for start in (task * TASK..end).step_by(BUFFER) {
            let keys = &mut buffer[..BUFFER.min(end - start)];
            self.fill_keys(start, keys);
            use_keys(keys);
        }
    }
}

/// Finds for each segment the cut that removes, group by group, the `removes[group]` units of lowest score.
///
/// Equal scores go in order of the segments, then in canonical order. No segment loses more than its limit; what a limit
/// gives back is taken from the next lowest units of the group's other segments. A group that cannot lose as many as
/// asked loses as many as it can.
pub fn select(segments: &[Segment], removes: &[usize]) -> Result<Vec<Cut>, Error> {
    for segment in segments {
        segment.check(removes.len())?;
    }
    let mut groups = reserve(removes.len())?;
    groups.extend(removes.iter().map(|&remove| Group { remove, prefix: 0 }));
    for (index, group) in groups.iter_mut().enumerate() {
        let room: usize = segments.iter().filter(|segment| segment.group == index).map(|segment| segment.limit).sum();
        group.remove = group.remove.min(room);
    }

    let mut tasks = reserve::<(usize, usize)>(segments.iter().map(|segment| segment.axes.units().div_ceil(TASK)).sum())?;
    for (index, segment) in segments.iter().enumerate() {
        if groups[segment.group].remove > 0 {
            tasks.extend((0..segment.axes.units().div_ceil(TASK)).map(|task| (index, task)));
        }
    }
    let mut counts = reserve::<AtomicU32>(segments.len() * BINS)?;
    counts.resize_with(segments.len() * BINS, AtomicU32::default);
    let counts = counts.as_mut_slice();
    // How many units have a key below the prefix, and how many have it: of each segment.
    let mut below = reserve::<usize>(segments.len())?;
    below.resize(segments.len(), 0);
    let mut equal = reserve::<usize>(segments.len())?;
    equal.resize(segments.len(), 0);

    for (shift, bits) in DIGITS {
        counts.iter_mut().for_each(|count| *count.get_mut() = 0);
        let shared: &[AtomicU32] = counts;
        tasks.par_iter().for_each(|&(index, task)| {
            let segment = &segments[index];
            let prefix = groups[segment.group].prefix;
            let mut bins = [0u32; BINS];
            segment.for_keys(task, |keys| count_digits(keys, prefix, shift, bits, &mut bins));
            for (count, bin) in shared[index * BINS..].iter().zip(bins) {
                if bin > 0 {
                    count.fetch_add(bin, Relaxed);
                }
            }
        });
        let count = |index: usize, digit: usize| counts_at(shared, index, digit);
        for (number, group) in groups.iter_mut().enumerate().filter(|(_, group)| group.remove > 0) {
            let members = || segments.iter().enumerate().filter(|(_, segment)| segment.group == number);
            let mut digit = 0;
            loop {
                let reached: usize = members().map(|(i, segment)| segment.limit.min(below[i] + count(i, digit))).sum();
                if reached >= group.remove || digit + 1 == 1 << bits {
                    break;
                }
                members().for_each(|(i, _)| below[i] += count(i, digit));
                digit += 1;
            }
            members().for_each(|(i, _)| equal[i] = count(i, digit));
            group.prefix |= (digit as u32) << shift;
        }
    }

    let mut cuts = reserve(segments.len())?;
    cuts.resize(segments.len(), Cut { settled: true, ..Cut::default() });
    for (number, group) in groups.iter().enumerate().filter(|(_, group)| group.remove > 0) {
        let members = || segments.iter().enumerate().filter(|(_, segment)| segment.group == number);
        let certain: usize = members().map(|(i, segment)| segment.limit.min(below[i])).sum();
        let mut rest = group.remove - certain;
        for (i, segment) in members() {
            let certain = segment.limit.min(below[i]);
            let ties = equal[i].min(segment.limit - certain).min(rest);
            rest -= ties;
            cuts[i] = Cut {
                removed: certain + ties,
                key: group.prefix,
                bound: tie_bound(segment, group.prefix, ties, equal[i])?,
                settled: below[i] <= segment.limit,
            };
        }
    }
    Ok(cuts)
}

struct Group {
    remove: usize,
    /// The upper digits of the key at which the ranking is cut.
    prefix: u32,
}

fn counts_at(counts: &[AtomicU32], segment: usize, digit: usize) -> usize {
    counts[segment * BINS + digit].load(Relaxed) as usize
}

/// Counts the digit at `shift` of the keys whose upper digits are those of `prefix`.
fn count_digits(keys: &[u32], prefix: u32, shift: u32, bits: u32, bins: &mut [u32; BINS]) {
    let upper = shift + bits;
    let digit = |key: u32| (key >> shift & ((1 << bits) - 1)) as usize;
    if upper == u32::BITS {
        for &key in keys {
            bins[digit(key) & (BINS - 1)] += 1;
        }
    } else {
        for &key in keys {
            if (key ^ prefix) >> upper == 0 {
                bins[digit(key) & (BINS - 1)] += 1;
            }
        }
    }
}

/// The canonical number below which exactly `ties` units have the key. `equal` have it in all.
fn tie_bound(segment: &Segment, key: u32, ties: usize, equal: usize) -> Result<usize, Error> {
    let units = segment.axes.units();
    if ties == 0 || ties == equal {
        return Ok(if ties == 0 { 0 } else { units });
    }
    let matches_in = |task: usize, mut at: Box<dyn FnMut(usize) -> bool + '_>| {
        let mut walk = segment.axes.walk_units(task * TASK);
        for canonical in task * TASK..units.min((task + 1) * TASK) {
            if segment.key_at(walk.offset()) == key && at(canonical) {
                return;
            }
            walk.advance(1);
        }
    };
    let mut counts = reserve::<usize>(units.div_ceil(TASK))?;
    counts.resize(units.div_ceil(TASK), 0);
    counts.par_iter_mut().enumerate().for_each(|(task, count)| {
        matches_in(task, Box::new(|_| {
            *count += 1;
            false
        }));
    });
    let mut rest = ties;
    let mut task = 0;
    while rest > counts[task] {
        rest -= counts[task];
        task += 1;
    }
    let mut bound = units;
    matches_in(task, Box::new(|canonical| {
        rest -= 1;
        bound = canonical + 1;
        rest == 0
    }));
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::{Axis, tests::any_axes};
    use crate::mask::{mask, words_for};
    use crate::numbers::Numbers;
    use crate::score::Element;
    use proptest::prelude::*;

    #[derive(Debug)]
    struct Layer {
        scores: Vec<[u8; 4]>,
        axes: Axes,
        earlier: Option<Vec<u32>>,
        limit: usize,
    }

    fn layer(scores: &[f32], list: &[Axis]) -> Layer {
        let axes = Axes::new(list).unwrap();
        let scores = scores.iter().map(|score| score.to_le_bytes()).collect();
        Layer { scores, axes, earlier: None, limit: axes.units() }
    }

    fn flat(scores: &[f32]) -> Layer {
        layer(scores, &[Axis { size: scores.len(), reduced: false, order: 0 }])
    }

    fn segments(layers: &[Layer], group: impl Fn(usize) -> usize) -> Vec<Segment<'_>> {
        layers
            .iter()
            .enumerate()
            .map(|(i, layer)| Segment {
                scores: Elements { numbers: Numbers::Float32(&layer.scores), element: Element::Itself },
                axes: &layer.axes,
                earlier: layer.earlier.as_deref(),
                group: group(i),
                limit: layer.limit,
            })
            .collect()
    }

    /// Which units go, by sorting all of one group: (removed earlier first, score, layer, canonical number).
    fn naive(layers: &[Layer], remove: usize) -> Vec<Vec<bool>> {
        let score = |layer: &Layer, unit: usize| f32::from_le_bytes(layer.scores[unit]);
        let mut all: Vec<(bool, f32, usize, usize, usize)> = vec![];
        for (i, layer) in layers.iter().enumerate() {
            for unit in 0..layer.axes.units() {
                let alive = layer.earlier.as_ref().is_none_or(|mask| is_kept(mask, unit));
                let score = if alive { score(layer, unit) } else { 0.0 };
                all.push((alive, score, i, layer.axes.canonical_unit(unit), unit));
            }
        }
        all.sort_by(|a, b| (a.0.cmp(&b.0)).then(a.1.partial_cmp(&b.1).unwrap()).then((a.2, a.3).cmp(&(b.2, b.3))));
        let mut gone: Vec<Vec<bool>> = layers.iter().map(|layer| vec![false; layer.axes.units()]).collect();
        let mut left = remove;
        for (_, _, i, _, unit) in all {
            if left > 0 && gone[i].iter().filter(|gone| **gone).count() < layers[i].limit {
                gone[i][unit] = true;
                left -= 1;
            }
        }
        gone
    }

    /// Which units go, by the kernels.
    fn fast(layers: &[Layer], remove: usize) -> Vec<Vec<bool>> {
        let all = segments(layers, |_| 0);
        let cuts = select(&all, &[remove]).unwrap();
        all.iter()
            .zip(cuts)
            .map(|(segment, cut)| {
                let cut = if cut.settled { cut } else { select(&[*segment], &[cut.removed]).unwrap()[0] };
                let mut bits = vec![0; words_for(segment.axes.units())];
                mask(segment, cut, &mut bits).unwrap();
                let gone: Vec<bool> = (0..segment.axes.units()).map(|unit| !is_kept(&bits, unit)).collect();
                assert_eq!(gone.iter().filter(|gone| **gone).count(), cut.removed);
                gone
            })
            .collect()
    }

    fn any_layer() -> impl Strategy<Value = Layer> {
        any_axes().prop_flat_map(|list| {
            let list: Vec<Axis> = list.into_iter().map(|axis| Axis { reduced: false, ..axis }).collect();
            let units: usize = list.iter().map(|axis| axis.size).product();
            let scores = proptest::collection::vec(
                prop_oneof![Just(0.0f32), Just(-0.0), (-3i8..3).prop_map(f32::from), -1f32..1.0, Just(1e-42)],
                units,
            );
            let earlier = proptest::option::of(proptest::collection::vec(any::<u32>(), words_for(units)));
            (Just(list), scores, earlier, 0..=units).prop_map(|(list, scores, earlier, limit)| Layer {
                earlier,
                limit,
                ..layer(&scores, &list)
            })
        })
    }

    proptest! {
        #[test]
        fn any_layers_lose_the_units_that_sorting_puts_first(layers in proptest::collection::vec(any_layer(), 1..5), share in 0f64..1.1) {
            let units: usize = layers.iter().map(|layer| layer.axes.units()).sum();
            let remove = (share * units as f64) as usize;
            prop_assert_eq!(fast(&layers, remove), naive(&layers, remove));
        }

        #[test]
        fn keys_order_like_scores(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(key_of(a).cmp(&key_of(b)), a.partial_cmp(&b).unwrap());
            prop_assert!(key_of(a) > 0);
        }
    }

    #[test]
    fn groups_are_ranked_by_themselves() {
        let layers = [flat(&[5.0, 1.0, 3.0]), flat(&[0.5, 0.1]), flat(&[2.0, 9.0])];
        let cuts = select(&segments(&layers, |i| [0, 1, 0][i]), &[2, 1]).unwrap();
        assert_eq!(cuts.iter().map(|cut| cut.removed).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn counts_are_exact_around_every_edge_of_buffers_and_tasks() {
        for units in [1, 31, 32, 33, BUFFER - 1, BUFFER, BUFFER + 1, TASK - 1, TASK, TASK + 1, 2 * TASK + 5] {
            let equal = [flat(&vec![1.5; units])];
            let spread = [flat(&(0..units).map(|i| (i * 7919 % units) as f32).collect::<Vec<_>>())];
            for remove in [0, 1, units / 2, units - 1, units] {
                let gone = fast(&equal, remove);
                assert!(gone[0].iter().enumerate().all(|(unit, &gone)| gone == (unit < remove)));
                let gone = fast(&spread, remove);
                assert!(gone[0].iter().enumerate().all(|(unit, &gone)| gone == (unit * 7919 % units < remove)), "{units} {remove}");
            }
        }
    }

    #[test]
    fn disagreeing_requests_are_refused() {
        let layers = [flat(&[1.0, 2.0])];
        let mut list = segments(&layers, |_| 0);
        assert!(select(&list, &[]).is_err());
        list[0].limit = 3;
        assert!(select(&list, &[1]).is_err());
        list[0].limit = 2;
        list[0].earlier = Some(&[]);
        assert!(select(&list, &[1]).is_err());
    }
}
