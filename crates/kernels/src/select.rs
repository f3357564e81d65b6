//! The cut that removes exactly as many units as asked.
//!
//! Scores become keys, whole numbers in the same order. A sample brackets the key at which the ranking is cut; counts of
//! the keys inside the bracket narrow it down to one key. Most often that is two passes at the speed of memory. A bracket
//! that missed is widened to all keys, so the answer is exact and the work bounded whatever the distribution, and nothing
//! as large as the scores is allocated.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use crate::axes::Axes;
use crate::error::{Error, reserve};
use crate::mask::{BITS, is_kept, words_for};
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
pub(crate) const BUFFER: usize = 1024;

/// A task's units. A multiple of [`BUFFER`].
const TASK: usize = 1 << 17;

/// The keys between the ends of a bracket fall into this many bins.
const BINS: usize = 1 << BIN_BITS;
const BIN_BITS: u32 = 11;

/// What is counted of a bracket, in order of the keys: its lowest key, the bins between, its highest key. The ends are
/// counted apart since a value that many units share is most often one of them, and equal keys are counted by SIMD.
const COUNTS: usize = BINS + 2;

/// Groups of fewer units are counted without a sample.
const SAMPLE: usize = 1 << 16;

/// Neighbouring keys are counted in different tables: weights crowd in few bins, and an addition to the bin of the
/// addition before has to wait for it.
const TABLES: usize = 4;

/// A whole number that orders like the score; -0 and +0 are one. Removed units have key 0, which no score has.
pub(crate) fn key_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    bits ^ ((bits as i32 >> 31) as u32 | 0x8000_0000)
}

impl Segment<'_> {
    fn check(&self, groups: usize) -> Result<(), Error> {
        let units = self.axes.units();
        let fits = self.scores.len() == units
            && self.earlier.is_none_or(|mask| mask.len() == words_for(units))
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
            let remove = |keys: &mut [u32], word: u32| {
                for (key, bit) in keys.iter_mut().zip(BITS) {
                    *key = if word & bit == 0 { 0 } else { *key };
                }
            };
            let words = &mask[start / 32..];
            let (groups, last) = keys.as_chunks_mut::<32>();
            for (keys, &word) in groups.iter_mut().zip(words) {
                remove(keys, word);
            }
            if !last.is_empty() {
                remove(last, words[groups.len()]);
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
    let mut by_group = reserve::<usize>(segments.len())?;
    let mut ends = reserve::<usize>(removes.len())?;
    for group in 0..removes.len() {
        by_group.extend((0..segments.len()).filter(|&index| segments[index].group == group));
        ends.push(by_group.len());
    }
    let mut searches = reserve::<Search>(removes.len())?;
    let mut start = 0;
    for (&end, &remove) in ends.iter().zip(removes) {
        let members = &by_group[start..end];
        start = end;
        let remove = remove.min(members.iter().map(|&index| segments[index].limit).sum());
        let bracket = if remove == 0 { EVERYTHING } else { sampled_bracket(segments, members, remove)? };
        searches.push(Search { members, remove, bracket, found: remove == 0 });
    }

    let mut counts = reserve::<AtomicU32>(segments.len() * COUNTS)?;
    counts.resize_with(segments.len() * COUNTS, AtomicU32::default);
    // How many units of each segment have a key below the bracket.
    let mut below = reserve::<AtomicU32>(segments.len())?;
    below.resize_with(segments.len(), AtomicU32::default);
    let mut tasks =
        reserve::<(usize, usize)>(segments.iter().map(|segment| segment.axes.units().div_ceil(TASK)).sum())?;
    let mut cuts = reserve(segments.len())?;
    cuts.resize(segments.len(), Cut { settled: true, ..Cut::default() });

    while searches.iter().any(|search| !search.found) {
        tasks.clear();
        for (index, segment) in segments.iter().enumerate().filter(|(_, segment)| !searches[segment.group].found) {
            tasks.extend((0..segment.axes.units().div_ceil(TASK)).map(|task| (index, task)));
            counts[index * COUNTS..][..COUNTS].iter_mut().for_each(|count| *count.get_mut() = 0);
            *below[index].get_mut() = 0;
        }
        tasks.par_iter().for_each(|&(index, task)| {
            let segment = &segments[index];
            let mut counter = Counter::new(searches[segment.group].bracket);
            segment.for_keys(task, |keys| counter.count(keys));
            counter.add_to(&below[index], &counts[index * COUNTS..][..COUNTS]);
        });
        for search in searches.iter_mut().filter(|search| !search.found) {
            search.narrow(segments, &below, &counts, &mut cuts)?;
        }
    }
    Ok(cuts)
}

/// The keys from `low` to `high`, both included.
#[derive(Clone, Copy)]
struct Bracket {
    low: u32,
    high: u32,
}

const EVERYTHING: Bracket = Bracket { low: 0, high: u32::MAX };

impl Bracket {
    /// A key between the ends is in the bin of its distance from `low + 1` without this many of its lower bits.
    fn shift(self) -> u32 {
        let between = (self.high - self.low).saturating_sub(1);
        (u32::BITS - between.leading_zeros()).saturating_sub(BIN_BITS)
    }

    /// The keys that the count at this place is of.
    fn narrowed(self, place: usize) -> Bracket {
        match place {
            0 => Bracket { high: self.low, ..self },
            _ if place == COUNTS - 1 => Bracket { low: self.high, ..self },
            _ => {
                let low = self.low + 1 + (((place - 1) as u32) << self.shift());
                Bracket { low, high: (self.high - 1).min(low + ((1 << self.shift()) - 1)) }
            }
        }
    }
}

/// The search for one group's cut.
struct Search<'a> {
    /// The group's segments, in order.
    members: &'a [usize],
    remove: usize,
    /// Where the key lies at which the ranking is cut, unless the sample misled.
    bracket: Bracket,
    found: bool,
}

impl Search<'_> {
    /// Goes on to the bin or end that holds the cut; where that is a single key, writes the members' cuts.
    fn narrow(
        &mut self,
        segments: &[Segment],
        below: &[AtomicU32],
        counts: &[AtomicU32],
        cuts: &mut [Cut],
    ) -> Result<(), Error> {
        let count = |index: usize, place: usize| counts[index * COUNTS + place].load(Relaxed) as usize;
        // For each member, how many of its keys lie below those counted at the place that is looked at.
        let mut below_place = reserve::<usize>(self.members.len())?;
        below_place.extend(self.members.iter().map(|&index| below[index].load(Relaxed) as usize));
        let mut found = None;
        for place in 0..COUNTS {
            let certain: usize =
                self.members.iter().zip(&below_place).map(|(&i, &below)| segments[i].limit.min(below)).sum();
            if certain >= self.remove {
                break;
            }
            let reached: usize = self
                .members
                .iter()
                .zip(&below_place)
                .map(|(&i, &below)| segments[i].limit.min(below + count(i, place)))
                .sum();
            if reached >= self.remove {
                found = Some((place, certain));
                break;
            }
            for (&i, below) in self.members.iter().zip(&mut below_place) {
                *below += count(i, place);
            }
        }
        let Some((place, certain)) = found else {
            self.bracket = EVERYTHING;
            return Ok(());
        };
        self.bracket = self.bracket.narrowed(place);
        self.found = self.bracket.low == self.bracket.high;
        if self.found {
            let mut rest = self.remove - certain;
            for (&i, &below) in self.members.iter().zip(&below_place) {
                let segment = &segments[i];
                let certain = segment.limit.min(below);
                let ties = count(i, place).min(segment.limit - certain).min(rest);
                rest -= ties;
                cuts[i] = Cut {
                    removed: certain + ties,
                    key: self.bracket.low,
                    bound: tie_bound(segment, self.bracket.low, ties, count(i, place))?,
                    settled: below <= segment.limit,
                };
            }
        }
        Ok(())
    }
}

/// Counts one task's keys.
struct Counter {
    bracket: Bracket,
    below: u32,
    at_low: u32,
    at_high: u32,
    tables: [[u32; BINS]; TABLES],
}

impl Counter {
    fn new(bracket: Bracket) -> Self {
        Counter { bracket, below: 0, at_low: 0, at_high: 0, tables: [[0; BINS]; TABLES] }
    }

    fn count(&mut self, keys: &[u32]) {
        let (Bracket { low, high }, shift) = (self.bracket, self.bracket.shift());
        let (mut below, mut at_low, mut at_high) = (0, 0, 0);
        for &key in keys {
            below += u32::from(key < low);
            at_low += u32::from(key == low);
            at_high += u32::from(key == high);
        }
        self.below += below;
        self.at_low += at_low;
        self.at_high += at_high;
        let between = (high - low).saturating_sub(1);
        let first = low.wrapping_add(1);
        let inside = |key: u32| key.wrapping_sub(first) < between;
        let mut bin = |keys: &[u32]| {
            for (lane, &key) in keys.iter().enumerate().filter(|(_, key)| inside(**key)) {
                self.tables[lane % TABLES][(key.wrapping_sub(first) >> shift) as usize & (BINS - 1)] += 1;
            }
        };
        // Few groups have a key inside a narrow bracket, and this look at a whole group is SIMD.
        let (groups, last) = keys.as_chunks::<16>();
        for keys in groups {
            if keys.iter().fold(false, |any, &key| any | inside(key)) {
                bin(keys);
            }
        }
        bin(last);
    }

    fn add_to(self, below: &AtomicU32, counts: &[AtomicU32]) {
        below.fetch_add(self.below, Relaxed);
        counts[0].fetch_add(self.at_low, Relaxed);
        if self.bracket.low < self.bracket.high {
            counts[COUNTS - 1].fetch_add(self.at_high, Relaxed);
        }
        for (bin, count) in counts[1..COUNTS - 1].iter().enumerate() {
            let sum = self.tables.iter().map(|table| table[bin]).sum();
            if sum > 0 {
                count.fetch_add(sum, Relaxed);
            }
        }
    }
}

/// Brackets the key at which the members' ranking is cut, by the keys of units picked evenly at random.
///
/// The cut's place among n sampled keys has a standard deviation of sqrt(p (1 - p) n); the bracket reaches five of them
/// to each side. Where limits hold segments back, or the sample misleads, the counts say so and everything is counted.
fn sampled_bracket(segments: &[Segment], members: &[usize], remove: usize) -> Result<Bracket, Error> {
    let units: usize = members.iter().map(|&index| segments[index].axes.units()).sum();
    if units < 4 * SAMPLE {
        return Ok(EVERYTHING);
    }
    let mut sample = reserve::<u32>(SAMPLE)?;
    let (mut member, mut start) = (0, 0);
    for pick in 0..SAMPLE {
        // One unit from each of equal stretches, at a place given by a multiplicative hash: the same for every run.
        let from = (pick as u64 * units as u64 / SAMPLE as u64) as usize;
        let width = ((pick + 1) as u64 * units as u64 / SAMPLE as u64) as usize - from;
        let place = from + (pick as u32).wrapping_mul(2_654_435_769) as usize % width;
        while place - start >= segments[members[member]].axes.units() {
            start += segments[members[member]].axes.units();
            member += 1;
        }
        sample.push(segments[members[member]].key_at(place - start));
    }
    let share = remove as f64 / units as f64;
    let deviation = (share * (1.0 - share) * SAMPLE as f64).sqrt();
    let place = share * SAMPLE as f64;
    let (low, high) = (place - 5.0 * deviation - 8.0, place + 5.0 * deviation + 8.0);
    Ok(Bracket {
        low: if low < 0.0 { 0 } else { *sample.select_nth_unstable(low as usize).1 },
        high: if high >= SAMPLE as f64 { u32::MAX } else { *sample.select_nth_unstable(high as usize).1 },
    })
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
        matches_in(
            task,
            Box::new(|_| {
                *count += 1;
                false
            }),
        );
    });
    let mut rest = ties;
    let mut task = 0;
    while rest > counts[task] {
        rest -= counts[task];
        task += 1;
    }
    let mut bound = units;
    matches_in(
        task,
        Box::new(|canonical| {
            rest -= 1;
            bound = canonical + 1;
            rest == 0
        }),
    );
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::{Axis, tests::any_axes};
    use crate::mask::mask;
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
        layer(scores, &[Axis::kept(scores.len(), 0)])
    }

    fn segments(layers: &[Layer], group: impl Fn(usize) -> usize) -> Vec<Segment<'_>> {
        layers
            .iter()
            .enumerate()
            .map(|(i, layer)| Segment {
                scores: Elements::new(Numbers::Float32(&layer.scores), Element::Itself, None).unwrap(),
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
            let list: Vec<Axis> = list.into_iter().map(|axis| Axis { block: 1, ..axis }).collect();
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
                assert!(
                    gone[0].iter().enumerate().all(|(unit, &gone)| gone == (unit * 7919 % units < remove)),
                    "{units} {remove}"
                );
            }
        }
    }

    #[test]
    fn brackets_that_hold_and_brackets_that_miss_give_the_same_cut() {
        let units = 4 * SAMPLE + 4321;
        let picked: Vec<usize> = (0..SAMPLE)
            .map(|pick| {
                let from = (pick as u64 * units as u64 / SAMPLE as u64) as usize;
                let width = ((pick + 1) as u64 * units as u64 / SAMPLE as u64) as usize - from;
                from + (pick as u32).wrapping_mul(2_654_435_769) as usize % width
            })
            .collect();
        let spread: Vec<f32> = (0..units).map(|i| ((i as u32).wrapping_mul(2_246_822_519) >> 8) as f32).collect();
        // Made against the sample: whatever it sees is larger than all the rest.
        let mut misleading = spread.clone();
        picked.iter().for_each(|&unit| misleading[unit] += 1e9);
        let two_valued: Vec<f32> = (0..units).map(|i| (i % 3 % 2) as f32).collect();
        let sorted: Vec<f32> = (0..units).map(|i| i as f32).collect();
        for scores in [spread, misleading, two_valued, sorted, vec![0.0; units]] {
            for remove in [1, 100, units / 3, units / 2, units - 1] {
                let layers = [flat(&scores)];
                let cut = select(&segments(&layers, |_| 0), &[remove]).unwrap()[0];
                let mut keys: Vec<u32> = scores.iter().map(|&score| key_of(score)).collect();
                let key = *keys.select_nth_unstable(remove - 1).1;
                let ties = remove - keys.iter().filter(|&&each| each < key).count();
                let bound =
                    scores.iter().enumerate().filter(|(_, score)| key_of(**score) == key).nth(ties - 1).unwrap().0 + 1;
                assert_eq!((cut.removed, cut.key), (remove, key));
                let all_ties = keys.iter().filter(|&&each| each == key).count() == ties;
                assert_eq!(cut.bound, if all_ties { units } else { bound });
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
