//! One pass over the units of segments, task by task.

use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicU32};

use crate::segment::Segment;

/// A task's units. A multiple of [`PIECE`](crate::keys::PIECE).
pub(super) const TASK: usize = 1 << 16;

impl Segment<'_> {
    pub(super) fn tasks(&self) -> usize {
        self.axes.units().div_ceil(TASK)
    }

    /// The units of a task.
    pub(super) fn range(&self, task: usize) -> Range<usize> {
        task * TASK..self.axes.units().min((task + 1) * TASK)
    }
}

/// What a pass finds out about a segment.
#[derive(Default)]
pub(super) struct Tally {
    /// How many units have a key below the bracket.
    pub(super) below: AtomicU32,
    pub(super) highest: AtomicI32,
}
