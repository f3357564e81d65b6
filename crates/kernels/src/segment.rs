//! What a selection ranks, and what it finds.

use crate::axes::Axes;
use crate::bits::words_for;
use crate::elements::Elements;
use crate::error::Error;

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
}
