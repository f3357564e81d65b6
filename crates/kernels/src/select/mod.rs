//! The cut that removes exactly as many units as asked.
//!
//! Scores become keys, whole numbers in the same order. A sample brackets the key at which the ranking is cut; one pass
//! at the speed of memory counts the keys below the bracket and gathers the few inside, among which the cut is found.
//! Where these are too many, since values repeat, or a limit holds a segment back, counts of the keys inside the bracket
//! narrow it down, pass by pass, to one key or to few. A bracket that missed is replaced by the keys to that side, which
//! a second sample narrows. So the answer is exact and the work bounded whatever the distribution, and nothing as large
//! as the scores is allocated.

mod bracket;
mod count;
mod gather;
mod pass;
mod sample;
mod search;
#[cfg(test)]
mod tests;
mod ties;

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

use crate::error::{Error, reserve};
use crate::segment::{Cut, Segment};
use crate::tasks::{for_chunks, for_each};

use bracket::{COUNTS, EVERYTHING};
use count::count;
use gather::gather;
use pass::Tally;
use sample::{SAMPLED, candidates_of, sample_size};
use search::Search;

pub(crate) use bracket::{BINS, Bracket};
pub(crate) use count::{Counter, TABLES};

/// Finds for each segment the cut that removes, group by group, the `removes[group]` units of lowest score.
///
/// Equal scores go in order of the segments, then in canonical order. No segment loses more than its limit; what a limit
/// gives back is taken from the next lowest units of the group's other segments. A group that cannot lose as many as
/// asked loses as many as it can.
pub fn select(segments: &[Segment], removes: &[usize]) -> Result<Vec<Cut>, Error> {
    for segment in segments {
        segment.check(removes.len())?;
    }
    let (by_group, ends) = grouped(segments, removes.len())?;
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
            has_all: false,
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

    let mut tallies = reserve::<Tally>(segments.len())?;
    tallies.resize_with(segments.len(), Tally::default);
    let mut tasks = reserve::<(usize, usize)>(segments.iter().map(Segment::tasks).sum())?;
    let mut cuts = reserve(segments.len())?;
    cuts.resize(segments.len(), Cut::NOTHING);

    while searches.iter().any(|search| !search.found) {
        tasks.clear();
        for (index, segment) in segments.iter().enumerate().filter(|(_, segment)| !searches[segment.group].found) {
            tasks.extend((0..segment.tasks()).map(|task| (index, task)));
            tallies[index] = Tally { below: AtomicU32::new(0), highest: AtomicI32::new(i32::MIN) };
        }
        for search in searches.iter_mut().filter(|search| !search.found && search.room.is_none()) {
            search.look_at_all(segments)?;
        }
        for_each(tasks.len(), &|place| {
            let (index, task) = tasks[place];
            let (segment, tally, member) = (&segments[index], &tallies[index], places[index]);
            let Search { bracket, room, counts, .. } = &searches[segment.group];
            match room {
                Some(room) => gather(segment, task, *bracket, tally, room, member),
                None => count(segment, task, *bracket, tally, &counts[member * COUNTS..][..COUNTS]),
            }
        });
        for search in searches.iter_mut().filter(|search| !search.found) {
            match search.room.take() {
                Some(room) => search.settle(segments, room, &tallies, &mut cuts)?,
                None => search.narrow(segments, &tallies, &mut cuts)?,
            }
        }
    }
    for (cut, tally) in cuts.iter_mut().zip(&tallies).filter(|(cut, _)| cut.removed > 0) {
        cut.highest = tally.highest.load(Relaxed);
    }
    Ok(cuts)
}

/// The segments of each group, in their order, and where each group ends.
fn grouped(segments: &[Segment], groups: usize) -> Result<(Vec<usize>, Vec<usize>), Error> {
    let mut ends = reserve::<usize>(groups)?;
    ends.resize(groups, 0);
    segments.iter().for_each(|segment| ends[segment.group] += 1);
    // First how many there are, then where each group begins; adding the segments makes that its end.
    let mut next = 0;
    for end in &mut ends {
        (*end, next) = (next, next + *end);
    }
    let mut by_group = reserve::<usize>(segments.len())?;
    by_group.resize(segments.len(), 0);
    for (index, segment) in segments.iter().enumerate() {
        by_group[ends[segment.group]] = index;
        ends[segment.group] += 1;
    }
    Ok((by_group, ends))
}
