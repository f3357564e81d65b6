//! Units whose keys lie in a bracket, gathered in one pass.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use super::bracket::Bracket;
use super::pass::Tally;
use crate::error::{Error, reserve};
use crate::keys::{Keyed, PIECE, with_items};
use crate::segment::Segment;
use crate::simd::{LANES, Lanes, Register, Wide};

/// The most candidates of a block.
const BLOCK: usize = 1 << 9;

/// Units are compared with the bracket in groups of this many.
pub(super) const GROUP: usize = 16;

/// Room for the candidates of a piece, and for two more.
const FOUND: usize = 2 * PIECE;

/// A unit whose key lies in a bracket.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) key: i32,
    pub(super) unit: u32,
}

/// Room for candidates, taken block by block by those who find some. All of it is there before any thread begins, since
/// where one thread makes memory grow, another may learn of it too late to write there at once.
pub(super) struct Room {
    /// The candidates of one segment each, and its place in the group.
    blocks: Vec<Mutex<(usize, Vec<Candidate>)>>,
    /// How many candidates a block has room for.
    size: usize,
    taken: AtomicUsize,
}

impl Room {
    pub(super) fn new(candidates: usize, tasks: usize) -> Result<Self, Error> {
        // Each task may leave a block that is not full. Tasks of a few units have small ones, so that all of them together
        // have room for about twice the candidates.
        let size = candidates.div_ceil(tasks.max(1)).clamp(1, BLOCK);
        let count = candidates.div_ceil(size) + tasks;
        let mut blocks = reserve(count)?;
        for _ in 0..count {
            blocks.push(Mutex::new((0, reserve(size)?)));
        }
        Ok(Room { blocks, size, taken: AtomicUsize::new(0) })
    }

    /// All candidates, in lists with the place of their segment in the group.
    pub(super) fn into_lists(self) -> Result<Vec<(usize, Vec<Candidate>)>, Error> {
        let taken = self.taken.into_inner();
        let mut lists = reserve(taken)?;
        lists.extend(self.blocks.into_iter().take(taken).map(|block| block.into_inner().unwrap_or_default()));
        Ok(lists)
    }

    /// Whether somebody found no block any more, so that not all candidates are there.
    pub(super) fn is_short(&self) -> bool {
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
            let (now, later) = candidates.split_at(candidates.len().min(self.room.size - block.1.len()));
            block.1.extend_from_slice(now);
            candidates = later;
            if !candidates.is_empty() {
                self.block = None;
            }
        }
    }
}

/// Counts one task's keys below the bracket and gathers those inside.
pub(super) fn gather(segment: &Segment, task: usize, bracket: Bracket, tally: &Tally, room: &Room, member: usize) {
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
    tally.below.fetch_add(below, Relaxed);
    tally.highest.fetch_max(highest, Relaxed);
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
