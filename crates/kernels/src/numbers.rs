//! Numbers as model files hold them: little-endian, of 16 or 32 bits, at any address.
//!
//! Files do not align their tensors, so a number is an array of bytes here; loads of such arrays compile to plain
//! unaligned loads.

use crate::scalar::{widen_bfloat16, widen_float16};
use crate::simd::{LANES, Lanes, Register, Wide};

/// Weights to read.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    Float32(&'a [[u8; 4]]),
    Float16(&'a [[u8; 2]]),
    Bfloat16(&'a [[u8; 2]]),
}

/// Weights to change.
#[derive(Debug)]
pub enum NumbersMut<'a> {
    Float32(&'a mut [[u8; 4]]),
    Float16(&'a mut [[u8; 2]]),
    Bfloat16(&'a mut [[u8; 2]]),
}

impl Numbers<'_> {
    pub fn len(&self) -> usize {
        match self {
            Numbers::Float32(numbers) => numbers.len(),
            Numbers::Float16(numbers) | Numbers::Bfloat16(numbers) => numbers.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number at `index`, widened exactly.
    pub fn at(&self, index: usize) -> f32 {
        match self {
            Numbers::Float32(numbers) => f32::from_le_bytes(numbers[index]),
            Numbers::Float16(numbers) => widen_float16(u16::from_le_bytes(numbers[index])),
            Numbers::Bfloat16(numbers) => widen_bfloat16(u16::from_le_bytes(numbers[index])),
        }
    }

    /// Fills `target` with `change` of the numbers from `start` on.
    pub(crate) fn fill(&self, start: usize, target: &mut [f32], change: impl Fn(f32) -> f32) {
        let end = start + target.len();
        match self {
            Numbers::Float32(numbers) => {
                for (out, bytes) in target.iter_mut().zip(&numbers[start..end]) {
                    *out = change(f32::from_le_bytes(*bytes));
                }
                return;
            }
            Numbers::Float16(numbers) => {
                widen(&numbers[start..end], target, Lanes::magnitudes_of_float16, widen_float16);
            }
            Numbers::Bfloat16(numbers) => {
                widen(&numbers[start..end], target, Lanes::magnitudes_of_bfloat16, widen_bfloat16);
            }
        }
        target.iter_mut().for_each(|number| *number = change(*number));
    }

    /// Fills `target` with every `stride`-th number from `start` on.
    pub(crate) fn gather(&self, start: usize, stride: usize, target: &mut [f32]) {
        if stride == 1 {
            return self.fill(start, target, |number| number);
        }
        self.pick((start..).step_by(stride), target);
    }

    /// Fills `target` with the numbers at `places`.
    pub(crate) fn pick(&self, places: impl Iterator<Item = usize>, target: &mut [f32]) {
        let pairs = target.iter_mut().zip(places);
        match self {
            Numbers::Float32(numbers) => pairs.for_each(|(out, place)| *out = f32::from_le_bytes(numbers[place])),
            Numbers::Float16(numbers) => {
                pairs.for_each(|(out, place)| *out = widen_float16(u16::from_le_bytes(numbers[place])));
            }
            Numbers::Bfloat16(numbers) => {
                pairs.for_each(|(out, place)| *out = widen_bfloat16(u16::from_le_bytes(numbers[place])));
            }
        }
    }
}

impl<'a> NumbersMut<'a> {
    /// Parts of `size` numbers, the last one of what is left.
    pub(crate) fn chunks_mut(&mut self, size: usize) -> impl Iterator<Item = NumbersMut<'_>> {
        let mut rest = match self {
            NumbersMut::Float32(numbers) => NumbersMut::Float32(numbers),
            NumbersMut::Float16(numbers) => NumbersMut::Float16(numbers),
            NumbersMut::Bfloat16(numbers) => NumbersMut::Bfloat16(numbers),
        };
        std::iter::from_fn(move || rest.split_off_first(size))
    }

    fn split_off_first(&mut self, count: usize) -> Option<NumbersMut<'a>> {
        fn take<'a, T>(rest: &mut &'a mut [T], count: usize) -> Option<&'a mut [T]> {
            let count = count.min(rest.len());
            rest.split_off_mut(..count).filter(|part| !part.is_empty())
        }
        match self {
            NumbersMut::Float32(rest) => take(rest, count).map(NumbersMut::Float32),
            NumbersMut::Float16(rest) => take(rest, count).map(NumbersMut::Float16),
            NumbersMut::Bfloat16(rest) => take(rest, count).map(NumbersMut::Bfloat16),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            NumbersMut::Float32(numbers) => numbers.len(),
            NumbersMut::Float16(numbers) | NumbersMut::Bfloat16(numbers) => numbers.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `magnitudes` and `one` widen the same numbers, by SIMD and one by one.
fn widen(numbers: &[[u8; 2]], target: &mut [f32], magnitudes: impl Fn(Lanes) -> Lanes, one: impl Fn(u16) -> f32) {
    let (groups, last) = numbers.as_chunks::<LANES>();
    let (wholes, rest) = target.as_chunks_mut::<LANES>();
    for (numbers, target) in groups.iter().zip(wholes) {
        let numbers = Lanes::load_halves(numbers);
        magnitudes(numbers).or(numbers.signs_of_halves()).write_floats(target);
    }
    for (number, target) in last.iter().zip(rest) {
        *target = one(u16::from_le_bytes(*number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_widened_by_simd_as_one_by_one() {
        let bytes: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
        for numbers in [Numbers::Float16(&bytes), Numbers::Bfloat16(&bytes)] {
            // An odd beginning, and an end that is no whole register.
            let mut target = vec![0.0; bytes.len() - 2];
            numbers.fill(1, &mut target, |number| number);
            for (index, number) in target.iter().enumerate() {
                let one = numbers.at(index + 1);
                assert!(number.to_bits() == one.to_bits() || (number.is_nan() && one.is_nan()), "{index}");
            }
        }
    }
}
