//! Ways through memory: steps of equal strides, and the places that they lead to.

use std::ops::Range;

/// The largest number of axes of a tensor. Six roles, and two more for axes that a layout stores in two parts.
pub const MAX_AXES: usize = 8;

/// A part of the way through a tensor: `size` places with a distance of `stride`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) size: usize,
    pub(crate) stride: usize,
}

/// A short list of steps, outermost first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    pub(super) items: [Step; MAX_AXES],
    pub(super) count: usize,
}

impl Steps {
    pub(super) fn push(&mut self, step: Step) {
        self.items[self.count] = step;
        self.count += 1;
    }

    pub(crate) fn as_slice(&self) -> &[Step] {
        &self.items[..self.count]
    }

    /// The sum of strides at the row-major position `index`.
    pub(crate) fn offset(&self, mut index: usize) -> usize {
        let mut offset = 0;
        for step in self.as_slice().iter().rev() {
            offset += index % step.size * step.stride;
            index /= step.size;
        }
        offset
    }

    /// Whether all places follow each other in memory.
    pub(crate) fn is_line(&self) -> bool {
        matches!(self.as_slice(), [] | [Step { stride: 1, .. }])
    }

    /// Whether each place follows the one before at this distance.
    pub(crate) fn leads_on(&self, distance: usize) -> bool {
        matches!(self.as_slice(), [step] if step.stride == distance)
    }

    /// Rows of places that follow each other in memory: the way from one to the next, and how long they are.
    pub(crate) fn rows(&self) -> (Steps, usize) {
        match self.as_slice() {
            [.., Step { size, stride: 1 }] => (Steps { count: self.count - 1, ..*self }, *size),
            _ => (*self, 1),
        }
    }

    /// How many places the steps lead through.
    pub(crate) fn places(&self) -> usize {
        self.as_slice().iter().map(|step| step.size).product()
    }

    /// The offset of each place relative to the first, from index `start` on.
    pub(crate) fn walk(&self, start: usize) -> Walk<'_> {
        Walk::new(self.as_slice(), start)
    }

    /// Cuts the places of `range` into boxes of at most `capacity`, each as large as can be, in order.
    pub(crate) fn boxes(&self, range: Range<usize>, capacity: usize) -> impl Iterator<Item = StepsBox> {
        let (mut at, end) = (range.start, range.end);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let mut result = StepsBox { index: at, offset: 0, first: [0; MAX_AXES], steps: *self };
            let (mut rest, mut room) = (at, capacity.min(end - at));
            for (step, first) in result.steps.items[..self.count].iter_mut().zip(&mut result.first).rev() {
                let size = step.size;
                *first = rest % size;
                rest /= size;
                result.offset += *first * step.stride;
                step.size = room.min(size - *first);
                // Beyond a step that is not taken whole there is one place of each.
                room = if step.size == size { room / size } else { 1 };
            }
            at += result.steps.places();
            Some(result)
        })
    }
}

/// Some of the places that steps lead through: neighbours along each step, with the strides of the whole.
pub(crate) struct StepsBox {
    /// Which of all places the first is, and its offset.
    pub(crate) index: usize,
    pub(crate) offset: usize,
    /// Where the box begins along each step.
    pub(super) first: [usize; MAX_AXES],
    pub(crate) steps: Steps,
}

/// Offsets of places, one after another, the last step fastest.
pub(crate) struct Walk<'a> {
    steps: &'a [Step],
    indices: [usize; MAX_AXES],
    offset: usize,
}

impl<'a> Walk<'a> {
    fn new(steps: &'a [Step], start: usize) -> Self {
        let mut walk = Walk { steps, indices: [0; MAX_AXES], offset: 0 };
        let mut rest = start;
        for (step, index) in steps.iter().zip(&mut walk.indices).rev() {
            *index = rest % step.size;
            rest /= step.size;
            walk.offset += *index * step.stride;
        }
        walk
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    /// Never ends: after the last place comes the first one again.
    fn next(&mut self) -> Option<usize> {
        let offset = self.offset;
        for (step, index) in self.steps.iter().zip(&mut self.indices).rev() {
            *index += 1;
            self.offset += step.stride;
            if *index < step.size {
                break;
            }
            *index = 0;
            self.offset -= step.size * step.stride;
        }
        Some(offset)
    }
}
