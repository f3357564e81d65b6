//! Reads element scores from wherever they lie in memory.

use crate::axes::{MAX_AXES, Steps};
use crate::elements::{Elements, STRIP, combine};

/// Element scores are read this many at a time, into a buffer that a first level cache holds.
pub(super) const BUFFER: usize = 4096;

/// Reads element scores from wherever they lie in memory.
pub(super) struct Reader<'a> {
    elements: Elements<'a>,
    scores: [f32; BUFFER],
    /// Pieces of a line on the way to the scores.
    weights: [f32; STRIP],
    others: [f32; STRIP],
    line: [f32; STRIP],
}

/// A way through memory and through the buffer.
#[derive(Clone, Copy, Default)]
struct Way {
    size: usize,
    stride: usize,
    place: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(elements: Elements<'a>) -> Self {
        Reader { elements, scores: [0.0; BUFFER], weights: [0.0; STRIP], others: [0.0; STRIP], line: [0.0; STRIP] }
    }

    /// The scores of neighbours in memory, at most as many as are read at a time.
    pub(super) fn line(&mut self, start: usize, length: usize) -> &[f32] {
        let scores = &mut self.scores[..length];
        self.elements.read(start, scores);
        scores
    }

    /// The scores of some weights of some units from stored position `start` on: the first weight of each unit, then
    /// the second of each, and so on.
    pub(super) fn read(&mut self, start: usize, units: &Steps, weights: &Steps) -> &[f32] {
        // Ordered by their strides, the smallest first.
        let mut ways = [Way::default(); 2 * MAX_AXES];
        let mut count = 0;
        let mut place = 1;
        for step in units.as_slice().iter().rev().chain(weights.as_slice().iter().rev()) {
            if step.size > 1 {
                let mut at = count;
                while at > 0 && ways[at - 1].stride > step.stride {
                    ways[at] = ways[at - 1];
                    at -= 1;
                }
                ways[at] = Way { size: step.size, stride: step.stride, place };
                count += 1;
                place *= step.size;
            }
        }
        // Ways that lead on where others end are one.
        let mut joined = 0;
        for at in 1..count {
            let (inner, outer) = (ways[joined], ways[at]);
            if outer.stride == inner.size * inner.stride && outer.place == inner.size * inner.place {
                ways[joined].size *= outer.size;
            } else {
                joined += 1;
                ways[joined] = outer;
            }
        }
        count = count.min(joined + 1);
        // Lines are taken along one way: that with neighbours in memory, unless these are few.
        let longest = (0..count).fold(0, |best, at| if ways[at].size > ways[best].size { at } else { best });
        let best = if ways[0].stride == 1 && ways[0].size >= 16 { 0 } else { longest };
        let line = if count == 0 { Way { size: 1, stride: 1, place: 1 } } else { ways[best] };
        ways.copy_within(best + 1.., best);
        let ways = &ways[..count.saturating_sub(1)];

        let mut indices = [0; 2 * MAX_AXES];
        let (mut from, mut to) = (start, 0);
        loop {
            self.read_line(from, to, line);
            let mut level = 0;
            loop {
                let Some(way) = ways.get(level) else { return &self.scores[..place] };
                indices[level] += 1;
                from += way.stride;
                to += way.place;
                if indices[level] < way.size {
                    break;
                }
                indices[level] = 0;
                from -= way.size * way.stride;
                to -= way.size * way.place;
                level += 1;
            }
        }
    }

    fn read_line(&mut self, mut from: usize, mut to: usize, Way { size, stride, place }: Way) {
        if (stride, place) == (1, 1) {
            return self.elements.read(from, &mut self.scores[to..to + size]);
        }
        let Elements { numbers, other, element } = self.elements;
        let mut rest = size;
        while rest > 0 {
            let count = rest.min(STRIP);
            rest -= count;
            let (weights, others) = (&mut self.weights[..count], &mut self.others[..count]);
            numbers.gather(from, stride, weights);
            if let Some(other) = other {
                other.gather(from, stride, others);
            }
            from += count * stride;
            if place == 1 {
                combine(element, weights, others, &mut self.scores[to..to + count]);
                to += count;
                continue;
            }
            let line = &mut self.line[..count];
            combine(element, weights, others, line);
            for &score in &*line {
                self.scores[to] = score;
                to += place;
            }
        }
    }
}
