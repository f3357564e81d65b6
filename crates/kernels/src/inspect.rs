//! One look over the numbers before anything is decided.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::numbers::Numbers;
use crate::tasks::for_each;

const TASK: usize = 1 << 16;

/// What [`inspect`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Findings {
    /// How many numbers are zero, of either sign.
    pub zeros: usize,
    /// The stored position of the first number that is infinite or not a number.
    pub first_not_finite: Option<usize>,
}

/// Counts zeros and finds the first number that cannot be ranked.
pub fn inspect(numbers: Numbers) -> Findings {
    match numbers {
        Numbers::Float32(numbers) => look(numbers, |bytes| u32::from_le_bytes(bytes) << 1, 0xff00_0000),
        Numbers::Float16(numbers) => look(numbers, |bytes| u32::from(u16::from_le_bytes(bytes)) << 17, 0xf800_0000),
        Numbers::Bfloat16(numbers) => look(numbers, |bytes| u32::from(u16::from_le_bytes(bytes)) << 17, 0xff00_0000),
    }
}

/// `bits` gives a number's bits without the sign, at the upper end; from `infinity` on they are not finite.
fn look<const BYTES: usize>(
    numbers: &[[u8; BYTES]],
    bits: impl Fn([u8; BYTES]) -> u32 + Sync,
    infinity: u32,
) -> Findings {
    let (all_zeros, first_not_finite) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    for_each(numbers.len().div_ceil(TASK), &|task| {
        let start = task * TASK;
        let numbers = &numbers[start..numbers.len().min(start + TASK)];
        let (mut zeros, mut not_finite) = (0u32, 0u32);
        for &number in numbers {
            let bits = bits(number);
            zeros += u32::from(bits == 0);
            not_finite += u32::from(bits >= infinity);
        }
        all_zeros.fetch_add(zeros as usize, Relaxed);
        if not_finite > 0
            && let Some(place) = numbers.iter().position(|&number| bits(number) >= infinity)
        {
            first_not_finite.fetch_min(start + place, Relaxed);
        }
    });
    let first_not_finite = first_not_finite.into_inner();
    Findings {
        zeros: all_zeros.into_inner(),
        first_not_finite: (first_not_finite < usize::MAX).then_some(first_not_finite),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_both_signs_count_and_the_first_of_several_odd_numbers_is_named() {
        let mut weights = vec![1.0f32; 3 * TASK];
        weights[5] = 0.0;
        weights[TASK] = -0.0;
        weights[7] = f32::from_bits(1);
        let find = |weights: &[f32]| {
            inspect(Numbers::Float32(&weights.iter().map(|weight| weight.to_le_bytes()).collect::<Vec<_>>()))
        };
        assert_eq!(find(&weights), Findings { zeros: 2, first_not_finite: None });
        weights[2 * TASK + 1] = f32::NAN;
        weights[TASK + 9] = f32::NEG_INFINITY;
        assert_eq!(find(&weights).first_not_finite, Some(TASK + 9));
    }

    #[test]
    fn half_precision_has_its_own_infinity() {
        let find = |bits: u16, wide: bool| {
            let bytes = [bits.to_le_bytes()];
            inspect(if wide { Numbers::Bfloat16(&bytes) } else { Numbers::Float16(&bytes) }).first_not_finite
        };
        assert_eq!(find(0xfc00, false), Some(0));
        assert_eq!(find(0x7bff, false), None);
        assert_eq!(find(0x7c00, true), None);
        assert_eq!(find(0x7f80, true), Some(0));
    }
}
