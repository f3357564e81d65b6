//! The search for one group's cut, pass by pass.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::bracket::{BINS, Bracket, COUNTS, EVERYTHING, shift_of};
use super::gather::{Candidate, Room};
use super::pass::Tally;
use super::sample::{DEVIATIONS, MARGIN, SAMPLE_RUN, candidates_of, fill_sample, sample_size};
use super::ties::tie_bound;
use crate::error::{Error, reserve};
use crate::segment::{Cut, Segment};

/// Members of at most so many units each, on average, are small: all units in order take no more memory than the counts.
const SMALL: usize = COUNTS / 8;

/// The search for one group's cut.
pub(super) struct Search<'a> {
    /// The group's segments, in order.
    pub(super) members: &'a [usize],
    pub(super) units: usize,
    pub(super) remove: usize,
    /// Room for the keys of a sample; none where all units are gathered.
    pub(super) sample: Vec<i32>,
    /// Where the key lies at which the ranking is cut, unless the sample misled.
    pub(super) bracket: Bracket,
    pub(super) found: bool,
    pub(super) has_missed: bool,
    /// Whether the units inside a bracket do not tell, since a limit holds a segment back.
    pub(super) only_counts: bool,
    /// Whether the next pass gathers all units.
    pub(super) has_all: bool,
    /// For the units inside the bracket, where the next pass gathers them.
    pub(super) room: Option<Room>,
    /// For each member its counts, where the next pass counts.
    pub(super) counts: Vec<AtomicU32>,
}

impl Search<'_> {
    pub(super) fn is_sampled(&self) -> bool {
        self.sample.capacity() > 0
    }

    /// Lets the next pass gather, unless the bracket is of one key: that is counted by SIMD, and many have it.
    pub(super) fn make_room(&mut self, segments: &[Segment], candidates: usize) -> Result<(), Error> {
        if self.bracket.low < self.bracket.high {
            let tasks = self.members.iter().map(|&index| segments[index].tasks()).sum();
            self.room = Some(Room::new(candidates, tasks)?);
        }
        Ok(())
    }

    /// Prepares a pass whose outcome tells whatever the keys and limits are. Counts do, but those of many small members
    /// would take more memory and time than all their units.
    pub(super) fn look_at_all(&mut self, segments: &[Segment]) -> Result<(), Error> {
        if self.units > self.members.len() * SMALL {
            return self.reset_counts();
        }
        self.has_all = true;
        self.bracket = EVERYTHING;
        self.make_room(segments, self.units)
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
    pub(super) fn take_sample(&mut self, segments: &[Segment], below: usize, inside: usize) {
        if !self.is_sampled() {
            return;
        }
        let size = sample_size(self.units);
        // Other places than before.
        let first_run = if self.has_missed { size / SAMPLE_RUN } else { 0 };
        self.sample.resize(size, 0);
        fill_sample(&mut self.sample, segments, self.members, first_run);
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
    pub(super) fn settle(
        &mut self,
        segments: &[Segment],
        room: Room,
        tallies: &[Tally],
        cuts: &mut [Cut],
    ) -> Result<(), Error> {
        let Bracket { low, high } = self.bracket;
        if room.is_short() {
            return Ok(());
        }
        let lists = room.into_lists()?;
        if self.has_all {
            return self.settle_all(segments, &lists, cuts);
        }
        let mut below = reserve::<usize>(self.members.len())?;
        below.extend(self.members.iter().map(|&index| tallies[index].below.load(Relaxed) as usize));
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

    /// Finds the cut among all units of the members.
    fn settle_all(
        &mut self,
        segments: &[Segment],
        lists: &[(usize, Vec<Candidate>)],
        cuts: &mut [Cut],
    ) -> Result<(), Error> {
        // Each unit with its place among all units, in which the members follow each other in canonical order.
        let mut owners = reserve::<(u32, u32)>(self.units)?;
        let mut starts = reserve::<usize>(self.members.len())?;
        for (member, &index) in self.members.iter().enumerate() {
            starts.push(owners.len());
            owners.extend((0..segments[index].axes.units()).map(|unit| (member as u32, unit as u32)));
        }
        let mut order = reserve::<i64>(self.units)?;
        for (member, list) in lists {
            let axes = &segments[self.members[*member]].axes;
            for &Candidate { key, unit } in list {
                order.push(i64::from(key) << 32 | (starts[*member] + axes.canonical_unit(unit as usize)) as i64);
            }
        }
        order.sort_unstable();
        let owner = |entry: i64| owners[entry as u32 as usize];
        let limit = |member: u32| segments[self.members[member as usize]].limit;

        // The key of the last unit that goes, where each member loses its first ones.
        let mut going = starts;
        going.fill(0);
        let mut rest = self.remove;
        let mut key = i32::MAX;
        for &entry in &order {
            if rest == 0 {
                break;
            }
            let (member, _) = owner(entry);
            if going[member as usize] < limit(member) {
                going[member as usize] += 1;
                rest -= 1;
                key = (entry >> 32) as i32;
            }
        }

        going.fill(0);
        let below = order.iter().take_while(|&&entry| ((entry >> 32) as i32) < key).count();
        order[..below].iter().for_each(|&entry| going[owner(entry).0 as usize] += 1);
        rest = self.remove;
        for (&index, &below) in self.members.iter().zip(&going) {
            let limit = segments[index].limit;
            cuts[index] = Cut { removed: limit.min(below), key, bound: 0, settled: below <= limit, ..cuts[index] };
            rest -= limit.min(below);
        }
        for &entry in order[below..].iter().take_while(|&&entry| (entry >> 32) as i32 == key) {
            let (member, canonical) = owner(entry);
            let cut = &mut cuts[self.members[member as usize]];
            if rest > 0 && cut.removed < limit(member) {
                cut.removed += 1;
                cut.bound = canonical as usize + 1;
                rest -= 1;
            }
        }
        self.found = true;
        Ok(())
    }

    /// Goes on to the bin or end that holds the cut; where that is a single key, writes the members' cuts.
    pub(super) fn narrow(&mut self, segments: &[Segment], tallies: &[Tally], cuts: &mut [Cut]) -> Result<(), Error> {
        let members = self.members;
        let count = |member: usize, place: usize| self.counts[member * COUNTS + place].load(Relaxed) as usize;
        // For each member, how many of its keys lie below those counted at the place that is looked at.
        let mut below_place = reserve::<usize>(members.len())?;
        below_place.extend(members.iter().map(|&index| tallies[index].below.load(Relaxed) as usize));
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
