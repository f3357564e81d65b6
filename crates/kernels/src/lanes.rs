//! Whole numbers side by side in one SIMD register.
//!
//! Compilers make SIMD of plain loops, but not of those that turn comparisons into bits; here each operation is one or
//! two instructions. Elsewhere than in wasm the same operations are loops.

#[cfg(not(target_feature = "simd128"))]
pub(crate) use portable::{Lanes, Sums, add_magnitudes};
#[cfg(target_feature = "simd128")]
pub(crate) use wasm::{Lanes, Sums, add_magnitudes};

/// Numbers in a register.
pub(crate) const LANES: usize = 4;

/// A lane of a comparison that holds is -1, which has all bits set; otherwise it is 0.
#[cfg(target_feature = "simd128")]
mod wasm {
    use super::LANES;
    use std::arch::wasm32::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(v128);

    impl Lanes {
        pub(crate) fn splat(number: i32) -> Self {
            Lanes(i32x4_splat(number))
        }

        pub(crate) fn load(numbers: &[[u8; 4]; LANES]) -> Self {
            // SAFETY: the array is as long as the register, and this load has no alignment.
            Lanes(unsafe { v128_load(numbers.as_ptr().cast()) })
        }

        pub(crate) fn store(self, numbers: &mut [[u8; 4]; LANES]) {
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
        }

        pub(crate) fn and(self, other: Self) -> Self {
            Lanes(v128_and(self.0, other.0))
        }

        /// The lanes for which `mask` is 0; the others become 0.
        pub(crate) fn without(self, mask: Self) -> Self {
            Lanes(v128_andnot(self.0, mask.0))
        }

        pub(crate) fn or(self, other: Self) -> Self {
            Lanes(v128_or(self.0, other.0))
        }

        pub(crate) fn add(self, other: Self) -> Self {
            Lanes(i32x4_add(self.0, other.0))
        }

        pub(crate) fn is_less(self, other: Self) -> Self {
            Lanes(i32x4_lt(self.0, other.0))
        }

        pub(crate) fn is_equal(self, other: Self) -> Self {
            Lanes(i32x4_eq(self.0, other.0))
        }

        pub(crate) fn max(self, other: Self) -> Self {
            Lanes(i32x4_max(self.0, other.0))
        }

        /// A bit for each lane of comparisons: 1 where it holds.
        pub(crate) fn bits([a, b, c, d]: [Self; 4]) -> u32 {
            let halves = [i16x8_narrow_i32x4(a.0, b.0), i16x8_narrow_i32x4(c.0, d.0)];
            u32::from(i8x16_bitmask(i8x16_narrow_i16x8(halves[0], halves[1])))
        }
    }

    /// Eight sums in `f64`.
    #[derive(Clone, Copy)]
    pub(crate) struct Sums([v128; 4]);

    impl Default for Sums {
        fn default() -> Self {
            Sums([f64x2_splat(0.0); 4])
        }
    }

    impl Sums {
        /// Adds the magnitude of each number to its sum.
        pub(crate) fn add_magnitudes(&mut self, numbers: &[[u8; 4]; 8]) {
            let (quads, _) = numbers.as_chunks::<LANES>();
            let ([a, b], [c, d]) = (magnitudes(&quads[0]), magnitudes(&quads[1]));
            for (sum, score) in self.0.iter_mut().zip([a, b, c, d]) {
                *sum = f64x2_add(*sum, score);
            }
        }

        /// All of them, added as a balanced tree.
        pub(crate) fn sum(self) -> f64 {
            let [ab, cd, ef, gh] = self.0;
            let pair = f64x2_add(f64x2_add(ab, ef), f64x2_add(cd, gh));
            f64x2_extract_lane::<0>(pair) + f64x2_extract_lane::<1>(pair)
        }
    }

    fn magnitudes(numbers: &[[u8; 4]; LANES]) -> [v128; 2] {
        let magnitudes = f32x4_abs(Lanes::load(numbers).0);
        let upper = i32x4_shuffle::<2, 3, 2, 3>(magnitudes, magnitudes);
        [f64x2_promote_low_f32x4(magnitudes), f64x2_promote_low_f32x4(upper)]
    }

    /// Adds the magnitude of each number to a sum of its own, or to 0.
    pub(crate) fn add_magnitudes(sums: &mut [f64], is_first: bool, numbers: &[[u8; 4]]) {
        let (quads, last) = sums.as_chunks_mut::<LANES>();
        let (numbers, rest) = numbers.as_chunks::<LANES>();
        for (sums, numbers) in quads.iter_mut().zip(numbers) {
            let place: *mut v128 = sums.as_mut_ptr().cast();
            for (half, score) in magnitudes(numbers).into_iter().enumerate() {
                // SAFETY: each half of the array is as long as the register, and loads and stores have no alignment.
                unsafe {
                    let place = place.add(half);
                    v128_store(place, if is_first { score } else { f64x2_add(v128_load(place), score) });
                }
            }
        }
        for (sum, number) in last.iter_mut().zip(rest) {
            *sum = if is_first { 0.0 } else { *sum } + f64::from(f32::from_le_bytes(*number).abs());
        }
    }
}

#[cfg(not(target_feature = "simd128"))]
mod portable {
    use super::LANES;
    use std::array::from_fn;

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes([i32; LANES]);

    impl Lanes {
        pub(crate) fn splat(number: i32) -> Self {
            Lanes([number; LANES])
        }

        pub(crate) fn load(numbers: &[[u8; 4]; LANES]) -> Self {
            Lanes(numbers.map(i32::from_le_bytes))
        }

        pub(crate) fn store(self, numbers: &mut [[u8; 4]; LANES]) {
            *numbers = self.0.map(i32::to_le_bytes);
        }

        pub(crate) fn and(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane] & other.0[lane]))
        }

        /// The lanes for which `mask` is 0; the others become 0.
        pub(crate) fn without(self, mask: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane] & !mask.0[lane]))
        }

        pub(crate) fn or(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane] | other.0[lane]))
        }

        pub(crate) fn add(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
        }

        pub(crate) fn is_less(self, other: Self) -> Self {
            Lanes(from_fn(|lane| -i32::from(self.0[lane] < other.0[lane])))
        }

        pub(crate) fn is_equal(self, other: Self) -> Self {
            Lanes(from_fn(|lane| -i32::from(self.0[lane] == other.0[lane])))
        }

        pub(crate) fn max(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane].max(other.0[lane])))
        }

        /// A bit for each lane of comparisons: 1 where it holds.
        pub(crate) fn bits(lanes: [Self; 4]) -> u32 {
            let lanes = lanes.iter().flat_map(|Lanes(lanes)| lanes);
            lanes.enumerate().fold(0, |bits, (lane, holds)| bits | (*holds as u32 & 1) << lane)
        }
    }

    /// Eight sums in `f64`.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Sums([f64; 8]);

    impl Sums {
        /// Adds the magnitude of each number to its sum.
        pub(crate) fn add_magnitudes(&mut self, numbers: &[[u8; 4]; 8]) {
            add_magnitudes(&mut self.0, false, numbers);
        }

        /// All of them, added as a balanced tree.
        pub(crate) fn sum(self) -> f64 {
            let [a, b, c, d, e, f, g, h] = self.0;
            ((a + e) + (c + g)) + ((b + f) + (d + h))
        }
    }

    /// Adds the magnitude of each number to a sum of its own, or to 0.
    pub(crate) fn add_magnitudes(sums: &mut [f64], is_first: bool, numbers: &[[u8; 4]]) {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = if is_first { 0.0 } else { *sum } + f64::from(f32::from_le_bytes(*number).abs());
        }
    }
}

impl Lanes {
    pub(crate) fn to_array(self) -> [i32; LANES] {
        let mut numbers = [[0; 4]; LANES];
        self.store(&mut numbers);
        numbers.map(i32::from_le_bytes)
    }

    /// How many comparisons held, where these were added to 0.
    pub(crate) fn count(self) -> u32 {
        self.to_array().iter().sum::<i32>().unsigned_abs()
    }

    pub(crate) fn highest(self) -> i32 {
        self.to_array().into_iter().fold(i32::MIN, i32::max)
    }
}
