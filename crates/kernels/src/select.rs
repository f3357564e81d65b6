//! The cut that removes exactly as many units as asked.
//!
//! Scores become keys, whole numbers in the same order. A sample brackets the key at which the ranking is cut; one pass
//! at the speed of memory counts the keys below the bracket and gathers the few inside, among which the cut is found.
//! Where these are too many, since values repeat, or a limit holds a segment back, counts of the keys inside the bracket
//! narrow it down, pass by pass, to one key or to few. A bracket that missed is replaced by the keys to that side, which
//! a second sample narrows. So the answer is exact and the work bounded whatever the distribution, and nothing as large
//! as the scores is allocated.

use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use crate::axes::Axes;
use crate::error::{Error, reserve};
use crate::keys::{Keyed, PIECE, Piece, with_items};
use crate::lanes::{LANES, Lanes};
use crate::mask::words_for;
use crate::score::Elements;
use crate::tasks::{for_chunks, for_each};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many units go.
    pub removed: usize,
    /// Units with a smaller key go.
    pub key: i32,
    /// Of the units with this very key those go whose canonical number is smaller than this.
    pub bound: usize,
    /// Whether `key` and `bound` remove exactly `removed` units. False where `limit` held the segment back: its own cut
    /// is then found by selecting it alone.
    pub settled: bool,
    /// No key of the segment is larger; [`i32::MAX`] where nothing had to be removed, so that no key was looked at.
    pub highest: i32,
}

impl Cut {
    /// Removes nothing.
    pub const NOTHING: Cut = Cut { removed: 0, key: i32::MIN, bound: 0, settled: true, highest: i32::MAX };
}

/// A task's units. A multiple of [`PIECE`](crate::keys::PIECE).
const TASK: usize = 1 << 16;

/// The keys between the ends of a bracket fall into this many bins.
pub(crate) const BINS: usize = 1 << BIN_BITS;
const BIN_BITS: u32 = 11;

/// What is counted of a bracket, in order of the keys: its lowest key, the bins between, its highest key. The ends are
/// counted apart since a value that many units share is most often one of them, and equal keys are counted by SIMD.
const COUNTS: usize = BINS + 2;

/// A sample of so many units has this many keys, in runs of neighbours, since a place in memory costs more than a key. A
/// larger one takes longer and leaves fewer units in the bracket: the sum is least near the power of two thirds.
const fn sample_size(units: usize) -> usize {
    1 << (units.ilog2() * 2 / 3 + 1)
}

/// Groups of fewer units are counted without a sample.
const SAMPLED: usize = 1 << 12;
const SAMPLE_RUN: usize = 16;
const SAMPLE_TASK: usize = 1 << 12;

/// How many standard deviations of the cut's place in the sample the bracket reaches to each side: it misses one time in
/// sixteen thousand, which costs time only.
const DEVIATIONS: f64 = 4.0;

/// And so many keys more, which counts where the cut is near an end.
const MARGIN: usize = 8;

/// There is room to gather half as many units again as a bracket around the median of a sample leaves, in blocks.
fn candidates_of(units: usize) -> usize {
    let size = sample_size(units);
    let keys = (DEVIATIONS * (size as f64).sqrt()) as usize + 2 * MARGIN;
    (units as u64 * keys as u64 * 3 / 2 / size as u64) as usize
}
const BLOCK: usize = 1 << 9;

/// Units are compared with the bracket in groups of this many.
const GROUP: usize = 16;

/// Room for the candidates of a piece, and for two more.
const FOUND: usize = 2 * PIECE;

/// Neighbouring keys are counted in different tables: weights crowd in few bins, and an addition to the bin of the
/// addition before has to wait for it.
pub(crate) const TABLES: usize = 4;

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

    fn tasks(&self) -> usize {
        self.axes.units().div_ceil(TASK)
    }

    /// The units of a task.
    fn range(&self, task: usize) -> Range<usize> {
        task * TASK..self.axes.units().min((task + 1) * TASK)
    }
}

/// A unit whose key lies in a bracket.
#[derive(Clone, Copy)]
struct Candidate {
    key: i32,
    unit: u32,
}

/// Room for candidates, taken block by block by those who find some. All of it is there before any thread begins, since
/// where one thread makes memory grow, another may learn of it too late to write there at once.
struct Room {
    /// The candidates of one segment each, and its place in the group.
    blocks: Vec<Mutex<(usize, Vec<Candidate>)>>,
    taken: AtomicUsize,
}

impl Room {
    fn new(candidates: usize, tasks: usize) -> Result<Self, Error> {
        // Each task may leave a block that is not full.
        let count = candidates.div_ceil(BLOCK) + tasks;
        let mut blocks = reserve(count)?;
        for _ in 0..count {
            blocks.push(Mutex::new((0, reserve(BLOCK)?)));
        }
        Ok(Room { blocks, taken: AtomicUsize::new(0) })
    }

    /// Whether somebody found no block any more, so that not all candidates are there.
    fn is_short(&self) -> bool {
        self.taken.load(Relaxed) > self.blocks.len()
    }

    /// A block that nobody else has, unless all are taken.
    fn take(&self, member: usize) -> Option<MutexGuard<'_, (usize, Vec<Candidate>)>> {
        let mut block = self.blocks.get(self.taken.fetch_add(1, Relaxed))?.lock().ok()?;
        block.0 = member;
        Some(block)
    }
}

/// What one task gathers.
struct Gathered<'a> {
    room: &'a Room,
    member: usize,
    block: Option<MutexGuard<'a, (usize, Vec<Candidate>)>>,
}

impl Gathered<'_> {
    fn add(&mut self, mut candidates: &[Candidate]) {
        while !candidates.is_empty() {
            if self.block.is_none() {
                self.block = self.room.take(self.member);
            }
            let Some(block) = &mut self.block else { return };
            let (now, later) = candidates.split_at(candidates.len().min(BLOCK - block.1.len()));
            block.1.extend_from_slice(now);
            candidates = later;
            if !candidates.is_empty() {
                self.block = None;
            }
        }
    }
}

/// What a pass finds out about a segment.
#[derive(Default)]
struct Findings {
    /// How many units have a key below the bracket.
    below: AtomicU32,
    highest: AtomicI32,
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
    // Each segment's place in its group.
    let mut places = reserve::<usize>(segments.len())?;
    places.resize(segments.len(), 0);
    let mut start = 0;
    for (&end, &remove) in ends.iter().zip(removes) {
        let members = &by_group[start..end];
        start = end;
        members.iter().enumerate().for_each(|(place, &index)| places[index] = place);
        let remove = remove.min(members.iter().map(|&index| segments[index].limit).sum());
        let units: usize = members.iter().map(|&index| segments[index].axes.units()).sum();
        let is_sampled = remove > 0 && units >= SAMPLED;
        let sample = if is_sampled { reserve(sample_size(units))? } else { Vec::new() };
        searches.push(Search {
            members,
            units,
            remove,
            sample,
            bracket: EVERYTHING,
            found: remove == 0,
            has_missed: false,
            only_counts: false,
            room: None,
            counts: Vec::new(),
        });
    }
    for_chunks(&mut searches, 1, &|_, search| {
        search.iter_mut().for_each(|search| search.take_sample(segments, 0, search.units))
    });
    for search in searches.iter_mut().filter(|search| !search.found) {
        if !search.is_sampled() {
            search.make_room(segments, search.units)?;
        } else if !search.bracket.is_everything() {
            search.make_room(segments, candidates_of(search.units))?;
        }
    }

    let mut findings = reserve::<Findings>(segments.len())?;
    findings.resize_with(segments.len(), Findings::default);
    let mut tasks = reserve::<(usize, usize)>(segments.iter().map(Segment::tasks).sum())?;
    let mut cuts = reserve(segments.len())?;
    cuts.resize(segments.len(), Cut::NOTHING);

    while searches.iter().any(|search| !search.found) {
        tasks.clear();
        for (index, segment) in segments.iter().enumerate().filter(|(_, segment)| !searches[segment.group].found) {
            tasks.extend((0..segment.tasks()).map(|task| (index, task)));
            findings[index] = Findings { below: AtomicU32::new(0), highest: AtomicI32::new(i32::MIN) };
        }
        for search in searches.iter_mut().filter(|search| !search.found && search.room.is_none()) {
            search.reset_counts()?;
        }
        for_each(tasks.len(), &|place| {
            let (index, task) = tasks[place];
            let (segment, findings, member) = (&segments[index], &findings[index], places[index]);
            let Search { bracket, room, counts, .. } = &searches[segment.group];
            match room {
                Some(room) => gather(segment, task, *bracket, findings, room, member),
                None => count(segment, task, *bracket, findings, &counts[member * COUNTS..][..COUNTS]),
            }
        });
        for search in searches.iter_mut().filter(|search| !search.found) {
            match search.room.take() {
                Some(room) => search.settle(segments, room, &findings, &mut cuts)?,
                None => search.narrow(segments, &findings, &mut cuts)?,
            }
        }
    }
    for (cut, findings) in cuts.iter_mut().zip(&findings).filter(|(cut, _)| cut.removed > 0) {
        cut.highest = findings.highest.load(Relaxed);
    }
    Ok(cuts)
}

/// The keys from `low` to `high`, both included.
#[derive(Clone, Copy)]
pub(crate) struct Bracket {
    pub(crate) low: i32,
    pub(crate) high: i32,
}

const EVERYTHING: Bracket = Bracket { low: i32::MIN, high: i32::MAX };

impl Bracket {
    fn is_everything(self) -> bool {
        (self.low, self.high) == (EVERYTHING.low, EVERYTHING.high)
    }

    /// How far a key lies above the lowest one.
    fn distance(self, key: i32) -> u32 {
        key.wrapping_sub(self.low) as u32
    }

    /// A key between the ends is in the bin of its distance from `low + 1` without this many of its lower bits.
    fn bin_shift(self) -> u32 {
        shift_of(self.distance(self.high).saturating_sub(2))
    }

    /// The keys that the count at this place is of.
    fn narrowed(self, place: usize) -> Bracket {
        match place {
            0 => Bracket { high: self.low, ..self },
            _ if place == COUNTS - 1 => Bracket { low: self.high, ..self },
            _ => {
                let shift = self.bin_shift();
                let first = ((place - 1) as u32) << shift;
                let last = self.distance(self.high) - 2;
                let key = |distance: u32| self.low.wrapping_add(1).wrapping_add(distance as i32);
                Bracket { low: key(first), high: key(last.min(first + ((1 << shift) - 1))) }
            }
        }
    }
}

/// How many lower bits distances up to this one lose, so that a bin is left.
fn shift_of(distance: u32) -> u32 {
    (u32::BITS - distance.leading_zeros()).saturating_sub(BIN_BITS)
}

/// The search for one group's cut.
struct Search<'a> {
    /// The group's segments, in order.
    members: &'a [usize],
    units: usize,
    remove: usize,
    /// Room for the keys of a sample; none where all units are gathered.
    sample: Vec<i32>,
    /// Where the key lies at which the ranking is cut, unless the sample misled.
    bracket: Bracket,
    found: bool,
    has_missed: bool,
    /// Whether the units inside a bracket do not tell, since a limit holds a segment back.
    only_counts: bool,
    /// For the units inside the bracket, where the next pass gathers them.
    room: Option<Room>,
    /// For each member its counts, where the next pass counts.
    counts: Vec<AtomicU32>,
}

impl Search<'_> {
    fn is_sampled(&self) -> bool {
        self.sample.capacity() > 0
    }

    /// Lets the next pass gather, unless the bracket is of one key: that is counted by SIMD, and many have it.
    fn make_room(&mut self, segments: &[Segment], candidates: usize) -> Result<(), Error> {
        if self.bracket.low < self.bracket.high {
            let tasks = self.members.iter().map(|&index| segments[index].tasks()).sum();
            self.room = Some(Room::new(candidates, tasks)?);
        }
        Ok(())
    }

    fn reset_counts(&mut self) -> Result<(), Error> {
        let count = self.members.len() * COUNTS;
        if self.counts.is_empty() {
            self.counts = reserve(count)?;
        }
        self.counts.clear();
        self.counts.resize_with(count, AtomicU32::default);
        Ok(())
    }

    /// Narrows the bracket around the key at which the members' ranking is cut, by the keys of units picked evenly at
    /// random. So many units rank below the bracket, and so many have a key inside.
    ///
    /// The cut's place among n sampled keys has a standard deviation of sqrt(p (1 - p) n). Where limits hold segments
    /// back, or the sample misleads, the counts say so.
    fn take_sample(&mut self, segments: &[Segment], below: usize, inside: usize) {
        if !self.is_sampled() {
            return;
        }
        let (units, size) = (self.units, sample_size(self.units));
        let runs = size / SAMPLE_RUN;
        // Other places than before.
        let first_run = if self.has_missed { runs } else { 0 };
        self.sample.resize(size, 0);
        for_chunks(&mut self.sample, SAMPLE_TASK, &|task, keys| {
            let (mut member, mut first) = (0, 0);
            for (run, mut keys) in keys.chunks_mut(SAMPLE_RUN).enumerate() {
                let mut place = sampled_place(task * SAMPLE_TASK / SAMPLE_RUN + run, runs, units, first_run);
                // A run may lie in several segments.
                while !keys.is_empty() {
                    let segment = &segments[self.members[member]];
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
        let Bracket { low, high } = self.bracket;
        self.sample.retain(|key| (low..=high).contains(key));
        let size = self.sample.len();
        let share = (self.remove - below) as f64 / inside as f64;
        let deviation = (share * (1.0 - share) * size as f64).sqrt();
        let place = share * size as f64;
        let reach = DEVIATIONS * deviation + MARGIN as f64;
        let (low, high) = (place - reach, place + reach);
        let mut lower = &mut self.sample[..];
        if high < size as f64 {
            let parts = lower.select_nth_unstable(high as usize);
            (lower, self.bracket.high) = (parts.0, *parts.1);
        }
        if low >= 0.0 && (low as usize) < lower.len() {
            self.bracket.low = *lower.select_nth_unstable(low as usize).1;
        }
    }

    /// After a bracket that missed, for which one that certainly holds the cut was put in its place.
    fn sample_again(&mut self, segments: &[Segment], below: usize, inside: usize) -> Result<(), Error> {
        if self.has_missed || self.only_counts {
            return Ok(());
        }
        self.has_missed = true;
        self.take_sample(segments, below, inside);
        self.make_room(segments, candidates_of(self.units))
    }

    /// Finds the cut among the candidates. Where they do not tell, the bracket is left to be narrowed, or moved.
    fn settle(
        &mut self,
        segments: &[Segment],
        room: Room,
        findings: &[Findings],
        cuts: &mut [Cut],
    ) -> Result<(), Error> {
        let Bracket { low, high } = self.bracket;
        if room.is_short() {
            return Ok(());
        }
        let taken = room.taken.into_inner();
        let mut lists = reserve::<(usize, Vec<Candidate>)>(taken)?;
        lists.extend(room.blocks.into_iter().take(taken).map(|block| block.into_inner().unwrap_or_default()));
        let mut below = reserve::<usize>(self.members.len())?;
        below.extend(self.members.iter().map(|&index| findings[index].below.load(Relaxed) as usize));
        let lower: usize = below.iter().sum();
        let inside: usize = lists.iter().map(|(_, list)| list.len()).sum();
        if self.remove <= lower {
            // A bracket that counts narrowed misses in this way only.
            self.only_counts = self.members.iter().zip(&below).any(|(&index, &below)| below > segments[index].limit);
            self.bracket = Bracket { low: i32::MIN, high: low - 1 };
            return self.sample_again(segments, 0, lower);
        }
        if self.remove > lower + inside {
            self.bracket = Bracket { low: high + 1, high: i32::MAX };
            return self.sample_again(segments, lower + inside, self.units - lower - inside);
        }

        // The bin that holds the cut, then the cut among its few candidates.
        let bin_count = if inside > BINS { BINS } else { 1 };
        let shift = shift_of(self.bracket.distance(high));
        let bin_of = |key: i32| (self.bracket.distance(key) >> shift) as usize & (bin_count - 1);
        let mut bins = reserve::<usize>(bin_count)?;
        bins.resize(bin_count, 0);
        for candidate in lists.iter().flat_map(|(_, list)| list) {
            bins[bin_of(candidate.key)] += 1;
        }
        let mut rest = self.remove - lower;
        let mut bin = 0;
        while rest > bins[bin] {
            rest -= bins[bin];
            bin += 1;
        }
        // How many units of each member go, whatever their ties.
        let mut going = below;
        let mut near = reserve::<(i32, u32, u32)>(bins[bin])?;
        for (member, list) in &lists {
            for &Candidate { key, unit } in list {
                let own = bin_of(key);
                going[*member] += usize::from(own < bin);
                if own == bin {
                    near.push((key, *member as u32, unit));
                }
            }
        }
        let mut keys = reserve::<i32>(near.len())?;
        keys.extend(near.iter().map(|&(key, ..)| key));
        let key = *keys.select_nth_unstable(rest - 1).1;
        let mut equal = reserve::<i64>(near.iter().filter(|(own, ..)| *own == key).count())?;
        for &(own, member, unit) in &near {
            going[member as usize] += usize::from(own < key);
            if own == key {
                let canonical = segments[self.members[member as usize]].axes.canonical_unit(unit as usize);
                equal.push(i64::from(member) << 32 | canonical as i64);
            }
        }
        equal.sort_unstable();
        let ties = self.remove - going.iter().sum::<usize>();
        let tied = |entry: i64| ((entry >> 32) as usize, entry as u32 as usize);
        equal[..ties].iter().for_each(|&entry| going[tied(entry).0] += 1);
        self.only_counts = self.members.iter().zip(&going).any(|(&index, &going)| going > segments[index].limit);
        if self.only_counts {
            return Ok(());
        }
        self.found = true;
        for (&index, &removed) in self.members.iter().zip(&going) {
            cuts[index] = Cut { removed, key, bound: 0, ..cuts[index] };
        }
        for (place, &entry) in equal[..ties].iter().enumerate() {
            let (member, canonical) = tied(entry);
            let is_last = equal.get(place + 1).is_none_or(|&next| tied(next).0 != member);
            let index = self.members[member];
            cuts[index].bound = if is_last { segments[index].axes.units() } else { canonical + 1 };
        }
        Ok(())
    }

    /// Goes on to the bin or end that holds the cut; where that is a single key, writes the members' cuts.
    fn narrow(&mut self, segments: &[Segment], findings: &[Findings], cuts: &mut [Cut]) -> Result<(), Error> {
        let members = self.members;
        let count = |member: usize, place: usize| self.counts[member * COUNTS + place].load(Relaxed) as usize;
        // For each member, how many of its keys lie below those counted at the place that is looked at.
        let mut below_place = reserve::<usize>(members.len())?;
        below_place.extend(members.iter().map(|&index| findings[index].below.load(Relaxed) as usize));
        let mut found = None;
        for place in 0..COUNTS {
            let limits = members.iter().map(|&index| segments[index].limit);
            let certain: usize = limits.clone().zip(&below_place).map(|(limit, &below)| limit.min(below)).sum();
            if certain >= self.remove {
                break;
            }
            let up_to = below_place.iter().enumerate().map(|(member, below)| below + count(member, place));
            let reached: usize = limits.zip(up_to).map(|(limit, below)| limit.min(below)).sum();
            if reached >= self.remove {
                found = Some((place, certain));
                break;
            }
            for (member, below) in below_place.iter_mut().enumerate() {
                *below += count(member, place);
            }
        }
        let Some((place, certain)) = found else {
            self.bracket = EVERYTHING;
            return Ok(());
        };
        let bracket = self.bracket.narrowed(place);
        let inside: usize = (0..members.len()).map(|member| count(member, place)).sum();
        if bracket.low == bracket.high {
            self.found = true;
            let mut rest = self.remove - certain;
            for ((member, &index), &below) in members.iter().enumerate().zip(&below_place) {
                let segment = &segments[index];
                let certain = segment.limit.min(below);
                let ties = count(member, place).min(segment.limit - certain).min(rest);
                rest -= ties;
                cuts[index] = Cut {
                    removed: certain + ties,
                    key: bracket.low,
                    bound: tie_bound(segment, bracket.low, ties, count(member, place))?,
                    settled: below <= segment.limit,
                    ..cuts[index]
                };
            }
        }
        self.bracket = bracket;
        if !self.found && !self.only_counts && inside <= self.units / 8 {
            self.make_room(segments, inside)?;
        }
        Ok(())
    }
}

/// Counts one task's keys below the bracket and gathers those inside.
fn gather(segment: &Segment, task: usize, bracket: Bracket, findings: &Findings, room: &Room, member: usize) {
    let mut gathered = Gathered { room, member, block: None };
    let (mut below, mut highest) = (0, i32::MIN);
    let mut found = [Candidate { key: 0, unit: 0 }; FOUND];
    segment.for_pieces(segment.range(task), |start, piece| {
        // What was found is of no use then: another pass counts.
        if room.is_short() {
            return;
        }
        let looked = with_items!(piece, items => look(items, bracket, start, &mut found));
        gathered.add(&found[..looked.inside]);
        below += looked.below;
        highest = highest.max(looked.highest);
    });
    findings.below.fetch_add(below, Relaxed);
    findings.highest.fetch_max(highest, Relaxed);
}

/// What [`look`] saw.
struct Looked {
    below: u32,
    inside: usize,
    highest: i32,
}

/// Counts the keys below a bracket, writes down the units inside, and finds the highest key. The first item is unit
/// `start`; there are no more than in a piece.
fn look<T: Keyed>(items: &[T], Bracket { low, high }: Bracket, start: usize, found: &mut [Candidate; FOUND]) -> Looked {
    let [lowest, most] = [low, high].map(Lanes::splat);
    let (mut below, mut highest) = (Lanes::splat(0), Lanes::splat(i32::MIN));
    let mut count = 0;
    let (groups, last) = items.as_chunks::<GROUP>();
    for (place, items) in groups.iter().enumerate() {
        let (quarters, _) = items.as_chunks::<LANES>();
        let outside = [0, 1, 2, 3].map(|quarter| {
            let keys = T::keys(&quarters[quarter]);
            let is_below = keys.is_less(lowest);
            below = below.add(is_below);
            highest = highest.max(keys);
            is_below.or(most.is_less(keys))
        });
        let mut inside = !Lanes::bits(outside) & 0xffff;
        let end = count + inside.count_ones() as usize;
        // Two are written down in any case: whether a group has any is hard to foretell, and what is none is written over.
        for place_found in count..end.max(count + 2) {
            let lane = inside.trailing_zeros() as usize % GROUP;
            // The remainder is for the compiler alone.
            found[place_found % FOUND] =
                Candidate { key: items[lane].key(), unit: (start + place * GROUP + lane) as u32 };
            inside &= inside.wrapping_sub(1);
        }
        count = end;
    }
    let (mut lower, mut largest) = (below.count(), highest.highest());
    for (&item, unit) in last.iter().zip(start + groups.len() * GROUP..) {
        lower += u32::from(item.key() < low);
        largest = largest.max(item.key());
        if (low..=high).contains(&item.key()) {
            found[count % FOUND] = Candidate { key: item.key(), unit: unit as u32 };
            count += 1;
        }
    }
    Looked { below: lower, inside: count, highest: largest }
}

/// Counts one task's keys: those below the bracket, and those inside by bins.
fn count(segment: &Segment, task: usize, bracket: Bracket, findings: &Findings, counts: &[AtomicU32]) {
    let mut counter = Counter::new(bracket);
    if bracket.high.wrapping_sub(bracket.low) as u32 <= 1 {
        segment.for_pieces(segment.range(task), |_, piece| with_items!(piece, items => _ = counter.outside(items)));
    } else {
        let mut tables = [[0; BINS]; TABLES];
        segment.for_pieces(segment.range(task), |_, piece| {
            with_items!(piece, items => counter.all(items, &mut tables, |_| {}));
        });
        for (bin, count) in counts[1..COUNTS - 1].iter().enumerate() {
            let sum = tables.iter().map(|table| table[bin]).sum();
            if sum > 0 {
                count.fetch_add(sum, Relaxed);
            }
        }
    }
    findings.below.fetch_add(counter.below, Relaxed);
    findings.highest.fetch_max(counter.highest, Relaxed);
    counts[0].fetch_add(counter.at_low, Relaxed);
    if bracket.low < bracket.high {
        counts[COUNTS - 1].fetch_add(counter.at_high, Relaxed);
    }
}

/// Counts of keys below a bracket, and at its ends.
pub(crate) struct Counter {
    bracket: Bracket,
    pub(crate) below: u32,
    pub(crate) at_low: u32,
    pub(crate) at_high: u32,
    pub(crate) highest: i32,
}

impl Counter {
    pub(crate) fn new(bracket: Bracket) -> Self {
        Counter { bracket, below: 0, at_low: 0, at_high: 0, highest: i32::MIN }
    }

    /// Counts what is not in a bin, and says whether the rest is nothing.
    fn outside<T: Keyed>(&mut self, items: &[T]) -> bool {
        let Bracket { low, high } = self.bracket;
        let [lowest, most, mut below, mut at_low, mut at_high, mut outside] = [low, high, 0, 0, 0, 0].map(Lanes::splat);
        let mut highest = Lanes::splat(self.highest);
        let (groups, last) = items.as_chunks::<LANES>();
        for items in groups {
            let keys = T::keys(items);
            let (is_below, is_low, is_high) = (keys.is_less(lowest), keys.is_equal(lowest), keys.is_equal(most));
            below = below.add(is_below);
            at_low = at_low.add(is_low);
            at_high = at_high.add(is_high);
            outside = outside.add(is_below.or(is_low).or(is_high).or(most.is_less(keys)));
            highest = highest.max(keys);
        }
        self.below += below.count();
        self.at_low += at_low.count();
        self.at_high += at_high.count();
        self.highest = highest.highest();
        for key in last.iter().map(|item| item.key()) {
            self.below += u32::from(key < low);
            self.at_low += u32::from(key == low);
            self.at_high += u32::from(key == high);
            self.highest = self.highest.max(key);
        }
        outside.count() as usize == groups.len() * LANES && last.is_empty()
    }

    /// Counts all; what is in a bin in any of the tables. Tells the keys of these.
    pub(crate) fn all<T: Keyed>(
        &mut self,
        items: &[T],
        tables: &mut [[u32; BINS]; TABLES],
        mut use_inside: impl FnMut(i32),
    ) {
        if self.outside(items) {
            return;
        }
        let shift = self.bracket.bin_shift();
        let between = self.bracket.distance(self.bracket.high).saturating_sub(1);
        let first = self.bracket.low.wrapping_add(1);
        let [lowest, most] = [self.bracket.low, self.bracket.high].map(Lanes::splat);
        let mut bin = |lane: usize, item: T| {
            let distance = item.key().wrapping_sub(first) as u32;
            if distance < between {
                tables[lane % TABLES][(distance >> shift) as usize & (BINS - 1)] += 1;
                use_inside(item.key());
            }
        };
        let (groups, last) = items.as_chunks::<GROUP>();
        for items in groups {
            let (quarters, _) = items.as_chunks::<LANES>();
            let mut inside = Lanes::bits([0, 1, 2, 3].map(|quarter| {
                let keys = T::keys(&quarters[quarter]);
                lowest.is_less(keys).and(keys.is_less(most))
            }));
            if inside.count_ones() > GROUP as u32 / 2 {
                items.iter().enumerate().for_each(|(lane, &item)| bin(lane, item));
                continue;
            }
            while inside != 0 {
                let lane = inside.trailing_zeros() as usize % GROUP;
                inside &= inside - 1;
                bin(lane, items[lane]);
            }
        }
        last.iter().enumerate().for_each(|(lane, &item)| bin(lane, item));
    }
}

/// Where the run of a sample begins: one from each of equal stretches, at a place given by a multiplicative hash, the same
/// for every call. `first` is added to what is hashed.
fn sampled_place(run: usize, runs: usize, units: usize, first: usize) -> usize {
    let from = (run as u64 * units as u64 / runs as u64) as usize;
    let width = ((run + 1) as u64 * units as u64 / runs as u64) as usize - from;
    from + ((first + run) as u32).wrapping_mul(2_654_435_769) as usize % (width - SAMPLE_RUN + 1)
}

/// The canonical number below which exactly `ties` units have the key. `equal` have it in all.
fn tie_bound(segment: &Segment, key: i32, ties: usize, equal: usize) -> Result<usize, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::{Axis, tests::any_axes};
    use crate::keys::key_of;
    use crate::mask::{is_kept, mask};
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
        let mut counts = vec![0; layers.len()];
        let mut left = remove;
        for (_, _, i, _, unit) in all {
            if left > 0 && counts[i] < layers[i].limit {
                gone[i][unit] = true;
                counts[i] += 1;
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
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn limits_hold_in_sampled_rankings_of_any_values(
            seed in any::<u32>(),
            values in prop_oneof![Just(2u32), Just(50), Just(u32::MAX)],
            limits in proptest::array::uniform3(0f64..=1.0),
            share in 0f64..1.1,
        ) {
            let sizes = [SAMPLED, 5000, 31];
            let layers: Vec<Layer> = std::iter::zip(sizes, limits)
                .map(|(units, limit)| {
                    let score = |unit: u32| ((unit ^ seed).wrapping_mul(2_654_435_761) % values) as f32;
                    let scores: Vec<f32> = (0..units as u32).map(score).collect();
                    Layer { limit: (limit * units as f64) as usize, ..flat(&scores) }
                })
                .collect();
            let remove = (share * sizes.iter().sum::<usize>() as f64) as usize;
            prop_assert!(fast(&layers, remove) == naive(&layers, remove));
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
        for units in [1, 31, 32, 33, PIECE - 1, PIECE, PIECE + 1, TASK - 1, TASK, TASK + 1, 2 * TASK + 5] {
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
        let units = (1 << 18) + 4321;
        let runs = sample_size(units) / SAMPLE_RUN;
        let picked_by = |first: usize| -> Vec<usize> {
            let places = (0..runs).map(|run| sampled_place(run, runs, units, first));
            places.flat_map(|place| place..place + SAMPLE_RUN).collect()
        };
        let spread: Vec<f32> = (0..units).map(|i| ((i as u32).wrapping_mul(2_246_822_519) >> 8) as f32).collect();
        // Made against the samples: whatever they see is larger than all the rest.
        let mut misleading = spread.clone();
        picked_by(0).iter().for_each(|&unit| misleading[unit] += 1e9);
        let mut misleading_twice = misleading.clone();
        picked_by(runs).iter().for_each(|&unit| misleading_twice[unit] += 1e8);
        let two_valued: Vec<f32> = (0..units).map(|i| (i % 3 % 2) as f32).collect();
        let sorted: Vec<f32> = (0..units).map(|i| i as f32).collect();
        for scores in [spread, misleading, misleading_twice, two_valued, sorted, vec![0.0; units]] {
            for remove in [1, 100, units / 3, units / 2, units - 1] {
                let layers = [flat(&scores)];
                let cut = select(&segments(&layers, |_| 0), &[remove]).unwrap()[0];
                let mut keys: Vec<i32> = scores.iter().map(|&score| key_of(score)).collect();
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
