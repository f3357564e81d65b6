//! A bracket of keys around a cut, and the bins of the keys inside.

/// The keys between the ends of a bracket fall into this many bins.
pub(crate) const BINS: usize = 1 << BIN_BITS;

const BIN_BITS: u32 = 11;

/// What is counted of a bracket, in order of the keys: its lowest key, the bins between, its highest key. The ends are
/// counted apart since a value that many units share is most often one of them, and equal keys are counted by SIMD.
pub(super) const COUNTS: usize = BINS + 2;

/// The keys from `low` to `high`, both included.
#[derive(Clone, Copy)]
pub(crate) struct Bracket {
    pub(crate) low: i32,
    pub(crate) high: i32,
}

pub(super) const EVERYTHING: Bracket = Bracket { low: i32::MIN, high: i32::MAX };

impl Bracket {
    pub(super) fn is_everything(self) -> bool {
        (self.low, self.high) == (EVERYTHING.low, EVERYTHING.high)
    }

    /// How far a key lies above the lowest one.
    pub(super) fn distance(self, key: i32) -> u32 {
        key.wrapping_sub(self.low) as u32
    }

    /// A key between the ends is in the bin of its distance from `low + 1` without this many of its lower bits.
    pub(super) fn bin_shift(self) -> u32 {
        shift_of(self.distance(self.high).saturating_sub(2))
    }

    /// The keys that the count at this place is of.
    pub(super) fn narrowed(self, place: usize) -> Bracket {
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
pub(super) fn shift_of(distance: u32) -> u32 {
    (u32::BITS - distance.leading_zeros()).saturating_sub(BIN_BITS)
}
