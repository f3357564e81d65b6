//! The cut that removes exactly as many units as asked.
//!
//! Scores become keys, whole numbers in the same order. A sample brackets the key at which the ranking is cut; one pass
//! at the speed of memory counts the keys below the bracket and gathers the few inside, among which the cut is found.
//! Where these are too many, since values repeat, or a limit holds a segment back, counts of the keys inside the bracket
//! narrow it down to one key, pass by pass. A bracket that missed is widened to all keys. So the answer is exact and the
//! work bounded whatever the distribution, and nothing as large as the scores is allocated.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::axes::Axes;
use crate::error::{Error, reserve};
use crate::mask::{BITS, is_kept, words_for};
use crate::score::Elements;
use crate::tasks::for_each;

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
    /// No key of the segment is larger; [`u32::MAX`] where nothing had to be removed, so that no key was looked at.
    pub highest: u32,
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

/// A sample has this many keys, in runs of neighbours, since a place in memory costs more than a key. Groups of fewer
/// than four times as many units are counted without one.
const SAMPLE: usize = 1 << 17;
const SAMPLE_RUN: usize = 16;

/// Of a group's units at most one in this many is gathered.
const CANDIDATE_SHARE: usize = 16;

/// Neighbouring keys are counted in different tables: weights crowd in few bins, and an addition to the bin of the
/// addition before has to wait for it.
const TABLES: usize = 4;

/// A whole number that orders like the score; -0 and +0 are one. Removed units have key 0, which no score has.
pub(crate) fn key_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    bits ^ ((bits as i32 >> 31) as u32 | 0x8000_0000)
}

impl Segment<'_> {
    pub(crate) fn check(&self, groups: usize) -> Result<(), Error> {
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
        fill_keys(self.scores, start, self.earlier.map(|mask| &mask[start / 32..]), keys);
    }

    /// Calls `use_keys` with all keys of units in `task`'s range, a buffer at a time, and the first unit of each.
    fn for_keys(&self, task: usize, mut use_keys: impl FnMut(usize, &[u32])) {
        let end = self.axes.units().min((task + 1) * TASK);
        let mut buffer = [0; BUFFER];
        for start in (task * TASK..end).step_by(BUFFER) {
            let keys = &mut buffer[..BUFFER.min(end - start)];
            self.fill_keys(start, keys);
            use_keys(start, keys);
        }
    }
}

/// Fills `keys` with those of the scores from `start` on; `earlier` begins with the word of the first.
pub(crate) fn fill_keys(scores: Elements, start: usize, earlier: Option<&[u32]>, keys: &mut [u32]) {
    scores.fill(start, keys, key_of);
    let Some(words) = earlier else { return };
    let remove = |keys: &mut [u32], word: u32| {
        for (key, bit) in keys.iter_mut().zip(BITS) {
            *key = if word & bit == 0 { 0 } else { *key };
        }
    };
    let (groups, last) = keys.as_chunks_mut::<32>();
    for (keys, &word) in groups.iter_mut().zip(words) {
        remove(keys, word);
    }
    if !last.is_empty() {
        remove(last, words[groups.len()]);
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
        // Ends that are one key are counted by SIMD, and are many.
        let is_sampled = bracket.low < bracket.high && bracket.high - bracket.low < u32::MAX;
        let most = members.iter().map(|&index| segments[index].axes.units()).sum::<usize>() / CANDIDATE_SHARE;
        let gathering = is_sampled.then(|| Gathering { most, ..Gathering::default() });
        searches.push(Search { members, remove, bracket, found: remove == 0, gathering });
    }

    let mut counts = reserve::<AtomicU32>(segments.len() * COUNTS)?;
    counts.resize_with(segments.len() * COUNTS, AtomicU32::default);
    // How many units of each segment have a key below the bracket.
    let mut below = reserve::<AtomicU32>(segments.len())?;
    below.resize_with(segments.len(), AtomicU32::default);
    let mut tasks =
        reserve::<(usize, usize)>(segments.iter().map(|segment| segment.axes.units().div_ceil(TASK)).sum())?;
    let mut cuts = reserve(segments.len())?;
    cuts.resize(segments.len(), Cut { settled: true, highest: u32::MAX, ..Cut::default() });
    let mut highest = reserve::<AtomicU32>(segments.len())?;
    highest.resize_with(segments.len(), AtomicU32::default);

    while searches.iter().any(|search| !search.found) {
        tasks.clear();
        for (index, segment) in segments.iter().enumerate().filter(|(_, segment)| !searches[segment.group].found) {
            tasks.extend((0..segment.axes.units().div_ceil(TASK)).map(|task| (index, task)));
            counts[index * COUNTS..][..COUNTS].iter_mut().for_each(|count| *count.get_mut() = 0);
            *below[index].get_mut() = 0;
        }
        for search in &mut searches {
            if let Some(gathering) = &mut search.gathering {
                gathering.candidates = reserve(tasks.len())?;
                gathering.candidates.resize_with(tasks.len(), Mutex::default);
            }
        }
        for_each(tasks.len(), &|place| {
            let (index, task) = tasks[place];
            let segment = &segments[index];
            let search = &searches[segment.group];
            match &search.gathering {
                Some(gathering) => {
                    gathering.gather(segment, index, task, place, search.bracket, &below[index], &highest[index]);
                }
                None => {
                    let mut counter = Counter::new(search.bracket);
                    segment.for_keys(task, |_, keys| {
                        counter.count(keys);
                        highest_of(keys, &highest[index]);
                    });
                    counter.add_to(&below[index], &counts[index * COUNTS..][..COUNTS]);
                }
            }
        });
        for search in searches.iter_mut().filter(|search| !search.found) {
            match search.gathering.take() {
                Some(gathering) => search.settle(segments, gathering, &below, &mut cuts)?,
                None => search.narrow(segments, &below, &counts, &mut cuts)?,
            }
        }
    }
    for (cut, highest) in cuts.iter_mut().zip(&highest).filter(|(cut, _)| cut.removed > 0) {
        cut.highest = highest.load(Relaxed);
    }
    Ok(cuts)
}

fn highest_of(keys: &[u32], highest: &AtomicU32) {
    let own = keys.iter().fold(0, |highest, &key| if key > highest { key } else { highest });
    if own > highest.load(Relaxed) {
        highest.fetch_max(own, Relaxed);
    }
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
    /// For the first pass over a sampled bracket.
    gathering: Option<Gathering>,
}

/// A unit whose key lies in a bracket.
#[derive(Clone, Copy)]
struct Candidate {
    key: u32,
    segment: u32,
    unit: u32,
}

/// The units whose keys lie in a bracket, unless they are more than `most`.
#[derive(Default)]
struct Gathering {
    most: usize,
    count: AtomicUsize,
    failed: AtomicBool,
    /// For each task a list of its own: where one thread makes memory grow, another may learn of it too late to write
    /// there at once.
    candidates: Vec<Mutex<Vec<Candidate>>>,
}

impl Gathering {
    /// Counts one task's keys below the bracket and gathers those inside.
    fn gather(
        &self,
        segment: &Segment,
        index: usize,
        task: usize,
        place: usize,
        Bracket { low, high }: Bracket,
        below: &AtomicU32,
        highest: &AtomicU32,
    ) {
        let mut found: Vec<Candidate> = Vec::new();
        let mut lower = 0;
        let inside = |key: u32| key.wrapping_sub(low) <= high - low;
        segment.for_keys(task, |start, keys| {
            highest_of(keys, highest);
            if self.failed.load(Relaxed) {
                return;
            }
            let before = found.len();
            for (place, keys) in keys.chunks(16).enumerate() {
                let mut any = false;
                for &key in keys {
                    lower += u32::from(key < low);
                    any |= inside(key);
                }
                // Few have one, and this look at sixteen keys is SIMD.
                if !any {
                    continue;
                }
                if found.try_reserve(keys.len()).is_err() {
                    return self.failed.store(true, Relaxed);
                }
                let first = start + place * 16;
                found.extend(keys.iter().zip(first..).filter(|(key, _)| inside(**key)).map(|(&key, unit)| Candidate {
                    key,
                    segment: index as u32,
                    unit: unit as u32,
                }));
            }
            let more = found.len() - before;
            if more > 0 && self.count.fetch_add(more, Relaxed) + more > self.most {
                self.failed.store(true, Relaxed);
            }
        });
        below.fetch_add(lower, Relaxed);
        if let Some(Ok(mut list)) = self.candidates.get(place).map(Mutex::lock) {
            *list = found;
        }
    }
}

impl Search<'_> {
    /// Finds the cut among the candidates. Where they do not tell, the bracket is left to be narrowed, or widened.
    fn settle(
        &mut self,
        segments: &[Segment],
        gathering: Gathering,
        below: &[AtomicU32],
        cuts: &mut [Cut],
    ) -> Result<(), Error> {
        if gathering.failed.into_inner() {
            return Ok(());
        }
        let mut candidates = reserve::<Candidate>(gathering.count.into_inner())?;
        for list in gathering.candidates {
            candidates.extend(list.into_inner().unwrap_or_default());
        }
        let lower: usize = self.members.iter().map(|&index| below[index].load(Relaxed) as usize).sum();
        if self.remove <= lower || self.remove > lower + candidates.len() {
            self.bracket = EVERYTHING;
            return Ok(());
        }
        // For each member: how many of its candidates rank below the cut's key, and how many have that very key.
        let mut keys = reserve::<u32>(candidates.len())?;
        keys.extend(candidates.iter().map(|candidate| candidate.key));
        let rest = self.remove - lower;
        let key = *keys.select_nth_unstable(rest - 1).1;
        let mut less = reserve::<usize>(segments.len())?;
        less.resize(segments.len(), 0);
        let mut equal = reserve::<u64>(candidates.iter().filter(|candidate| candidate.key == key).count())?;
        let mut all = reserve::<usize>(segments.len())?;
        all.resize(segments.len(), 0);
        for &Candidate { key: own, segment, unit } in &candidates {
            all[segment as usize] += 1;
            less[segment as usize] += usize::from(own < key);
            if own == key {
                let canonical = segments[segment as usize].axes.canonical_unit(unit as usize);
                equal.push(u64::from(segment) << 32 | canonical as u64);
            }
        }
        let total = |&index: &usize, inside: &[usize]| below[index].load(Relaxed) as usize + inside[index];
        if self.members.iter().any(|index| total(index, &all) > segments[*index].limit) {
            return Ok(());
        }
        self.found = true;
        equal.sort_unstable();
        let ties = rest - less.iter().sum::<usize>();
        for index in self.members {
            cuts[*index] = Cut { removed: total(index, &less), key, bound: 0, ..cuts[*index] };
        }
        for (place, &entry) in equal.iter().enumerate() {
            let (index, canonical) = ((entry >> 32) as usize, entry as u32 as usize);
            let is_last = equal.get(place + 1).is_none_or(|next| (next >> 32) as usize != index);
            if place < ties {
                cuts[index].removed += 1;
                cuts[index].bound = if is_last { segments[index].axes.units() } else { canonical + 1 };
            }
        }
        Ok(())
    }

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
                    ..cuts[i]
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
    let runs = SAMPLE / SAMPLE_RUN;
    for run in 0..runs {
        // One from each of equal stretches, at a place given by a multiplicative hash: the same for every call.
        let from = (run as u64 * units as u64 / runs as u64) as usize;
        let width = ((run + 1) as u64 * units as u64 / runs as u64) as usize - from;
        let place = from + (run as u32).wrapping_mul(2_654_435_769) as usize % (width - SAMPLE_RUN + 1);
        for place in place..place + SAMPLE_RUN {
            while place - start >= segments[members[member]].axes.units() {
                start += segments[members[member]].axes.units();
                member += 1;
            }
            sample.push(segments[members[member]].key_at(place - start));
        }
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
    for_runs(segment, key, |Run { canonical, step, keys }| {
        if step == 1 && canonical / TASK == (canonical + keys.len() - 1) / TASK {
            let count = keys.iter().map(|&own| u32::from(own == key)).sum();
            counts[canonical / TASK].fetch_add(count, Relaxed);
        } else {
            for (place, _) in keys.iter().enumerate().filter(|(_, own)| **own == key) {
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
    for_runs(segment, key, |Run { canonical, step, keys }| {
        let end = canonical + (keys.len() - 1) * step;
        if end < block * TASK || canonical >= (block + 1) * TASK {
            return;
        }
        for (place, _) in keys.iter().enumerate().filter(|(_, own)| **own == key) {
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

/// Units side by side in memory whose canonical numbers are `step` apart, from `canonical` on.
struct Run<'a> {
    canonical: usize,
    step: usize,
    keys: &'a [u32],
}

/// Calls `act`, on all threads, with runs that hold all units of this key, and others.
fn for_runs(segment: &Segment, key: u32, act: impl Fn(Run) + Sync) {
    let (length, step) = segment.axes.canonical_run();
    for_each(segment.axes.units().div_ceil(TASK), &|task| {
        segment.for_keys(task, |start, keys| {
            // Most often there is none, and this look is SIMD.
            if !keys.contains(&key) {
                return;
            }
            let mut done = 0;
            while done < keys.len() {
                let count = (length - (start + done) % length).min(keys.len() - done);
                let canonical = segment.axes.canonical_unit(start + done);
                act(Run { canonical, step, keys: &keys[done..done + count] });
                done += count;
            }
        });
    });
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
