//! Whole numbers side by side in one SIMD register.
//!
//! Compilers make SIMD of plain loops, but not of those that turn comparisons into bits; here each operation is one or
//! two instructions. Elsewhere than in wasm the same operations are loops.

#[cfg(not(target_feature = "simd128"))]
pub(crate) use portable::{Lanes, Sums, add_magnitudes, bits_of, sum_magnitudes};
#[cfg(target_feature = "simd128")]
pub(crate) use wasm::{Lanes, Sums, add_magnitudes, bits_of, sum_magnitudes};

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
        #[inline(always)]
        pub(crate) fn splat(number: i32) -> Self {
            Lanes(i32x4_splat(number))
        }

        #[inline(always)]
        pub(crate) fn load(numbers: &[[u8; 4]; LANES]) -> Self {
            // SAFETY: the array is as long as the register, and this load has no alignment.
            Lanes(unsafe { v128_load(numbers.as_ptr().cast()) })
        }

        #[inline(always)]
        pub(crate) fn store(self, numbers: &mut [[u8; 4]; LANES]) {
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
        }

        #[inline(always)]
        pub(crate) fn read(numbers: &[i32; LANES]) -> Self {
            // SAFETY: the array is as long as the register.
            Lanes(unsafe { v128_load(numbers.as_ptr().cast()) })
        }

        #[inline(always)]
        pub(crate) fn write(self, numbers: &mut [i32; LANES]) {
            // SAFETY: the array is as long as the register.
            unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
        }

        #[inline(always)]
        pub(crate) fn and(self, other: Self) -> Self {
            Lanes(v128_and(self.0, other.0))
        }

        /// The lanes for which `mask` is 0; the others become 0.
        #[inline(always)]
        pub(crate) fn without(self, mask: Self) -> Self {
            Lanes(v128_andnot(self.0, mask.0))
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Self) -> Self {
            Lanes(v128_or(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            Lanes(i32x4_add(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn is_less(self, other: Self) -> Self {
            Lanes(i32x4_lt(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn is_equal(self, other: Self) -> Self {
            Lanes(i32x4_eq(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn max(self, other: Self) -> Self {
            Lanes(i32x4_max(self.0, other.0))
        }

        /// The first lanes of all, the second lanes of all, and so on.
        #[inline(always)]
        pub(crate) fn transposed([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let low = [i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0), i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0)];
            let high = [i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0), i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0)];
            let halves = |[a, b]: [v128; 2]| [i64x2_shuffle::<0, 2>(a, b), i64x2_shuffle::<1, 3>(a, b)];
            let ([a, b], [c, d]) = (halves(low), halves(high));
            [Lanes(a), Lanes(b), Lanes(c), Lanes(d)]
        }

        /// A bit for each lane of comparisons: 1 where it holds.
        #[inline(always)]
        pub(crate) fn bits([a, b, c, d]: [Self; 4]) -> u32 {
            let halves = [i16x8_narrow_i32x4(a.0, b.0), i16x8_narrow_i32x4(c.0, d.0)];
            u32::from(i8x16_bitmask(i8x16_narrow_i16x8(halves[0], halves[1])))
        }

        /// A byte for each lane of comparisons: 255 where it holds, else 0.
        #[inline(always)]
        pub(crate) fn bytes([a, b, c, d]: [Self; 4]) -> [u8; 16] {
            let halves = [i16x8_narrow_i32x4(a.0, b.0), i16x8_narrow_i32x4(c.0, d.0)];
            let mut bytes = [0; 16];
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(bytes.as_mut_ptr().cast(), i8x16_narrow_i16x8(halves[0], halves[1])) };
            bytes
        }
    }

    /// A bit for each byte: its highest one.
    #[inline(always)]
    pub(crate) fn bits_of(bytes: &[u8; 32]) -> u32 {
        let (halves, _) = bytes.as_chunks::<16>();
        // SAFETY: the array is as long as the register, and this load has no alignment.
        let [low, high] =
            [0, 1].map(|half| u32::from(i8x16_bitmask(unsafe { v128_load(halves[half].as_ptr().cast()) })));
        low | high << 16
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

        /// Adds the magnitude of one number to one sum.
        fn add_one(&mut self, lane: usize, number: [u8; 4]) {
            let mut numbers = [[0; 4]; 8];
            numbers[lane] = number;
            self.add_magnitudes(&numbers);
        }

        /// The same of fewer numbers than there are sums.
        #[inline(always)]
        pub(crate) fn add_last_magnitudes(&mut self, numbers: &[[u8; 4]]) {
            let magnitude = |number: &[u8; 4]| f64::from(f32::from_le_bytes(*number).abs());
            for (sum, pair) in self.0.iter_mut().zip(numbers.chunks(2)) {
                // 0 changes no sum.
                *sum = f64x2_add(*sum, f64x2(magnitude(&pair[0]), pair.get(1).map_or(0.0, magnitude)));
            }
        }

        /// All of them, added as a balanced tree.
        #[inline(always)]
        pub(crate) fn sum(self) -> f64 {
            let [ab, cd, ef, gh] = self.0;
            let pair = f64x2_add(f64x2_add(ab, ef), f64x2_add(cd, gh));
            f64x2_extract_lane::<0>(pair) + f64x2_extract_lane::<1>(pair)
        }
    }

    #[inline(always)]
    fn magnitudes(numbers: &[[u8; 4]; LANES]) -> [v128; 2] {
        let magnitudes = f32x4_abs(Lanes::load(numbers).0);
        let upper = i32x4_shuffle::<2, 3, 2, 3>(magnitudes, magnitudes);
        [f64x2_promote_low_f32x4(magnitudes), f64x2_promote_low_f32x4(upper)]
    }

    /// Adds up the magnitudes of each column of rows that are as long as there are sums, in the order of [`Sums`].
    pub(crate) fn sum_magnitudes(rows: &[&[[u8; 4]]], sums: &mut [f64]) {
        let quads = sums.len() / LANES;
        for quad in 0..quads {
            let place = quad * LANES;
            let lane = |lane: usize| {
                let mut sum = [f64x2_splat(0.0); 2];
                for row in rows.iter().skip(lane).step_by(8) {
                    let scores = magnitudes(&row.as_chunks::<LANES>().0[quad]);
                    sum = [f64x2_add(sum[0], scores[0]), f64x2_add(sum[1], scores[1])];
                }
                sum
            };
            let add = |a: [v128; 2], b: [v128; 2]| [f64x2_add(a[0], b[0]), f64x2_add(a[1], b[1])];
            let pair = |low: usize| add(lane(low), lane(low + 4));
            let [a, b] = add(add(pair(0), pair(2)), add(pair(1), pair(3)));
            let all = [
                f64x2_extract_lane::<0>(a),
                f64x2_extract_lane::<1>(a),
                f64x2_extract_lane::<0>(b),
                f64x2_extract_lane::<1>(b),
            ];
            sums[place..place + LANES].copy_from_slice(&all);
        }
        for column in quads * LANES..sums.len() {
            let mut lanes = Sums::default();
            for (lane, row) in rows.iter().enumerate() {
                lanes.add_one(lane % 8, row[column]);
            }
            sums[column] = lanes.sum();
        }
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
        #[inline(always)]
        pub(crate) fn splat(number: i32) -> Self {
            Lanes([number; LANES])
        }

        #[inline(always)]
        pub(crate) fn load(numbers: &[[u8; 4]; LANES]) -> Self {
            Lanes(numbers.map(i32::from_le_bytes))
        }

        #[inline(always)]
        pub(crate) fn store(self, numbers: &mut [[u8; 4]; LANES]) {
            *numbers = self.0.map(i32::to_le_bytes);
        }

        #[inline(always)]
        pub(crate) fn read(numbers: &[i32; LANES]) -> Self {
            Lanes(*numbers)
        }

        #[inline(always)]
        pub(crate) fn write(self, numbers: &mut [i32; LANES]) {
            *numbers = self.0;
        }

        #[inline(always)]
        pub(crate) fn and(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane] & other.0[lane]))
        }

        /// The lanes for which `mask` is 0; the others become 0.
        #[inline(always)]
        pub(crate) fn without(self, mask: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane] & !mask.0[lane]))
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane] | other.0[lane]))
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
        }

        #[inline(always)]
        pub(crate) fn is_less(self, other: Self) -> Self {
            Lanes(from_fn(|lane| -i32::from(self.0[lane] < other.0[lane])))
        }

        #[inline(always)]
        pub(crate) fn is_equal(self, other: Self) -> Self {
            Lanes(from_fn(|lane| -i32::from(self.0[lane] == other.0[lane])))
        }

        #[inline(always)]
        pub(crate) fn max(self, other: Self) -> Self {
            Lanes(from_fn(|lane| self.0[lane].max(other.0[lane])))
        }

        /// The first lanes of all, the second lanes of all, and so on.
        #[inline(always)]
        pub(crate) fn transposed(lanes: [Self; 4]) -> [Self; 4] {
            from_fn(|row| Lanes(from_fn(|lane| lanes[lane].0[row])))
        }

        /// A bit for each lane of comparisons: 1 where it holds.
        #[inline(always)]
        pub(crate) fn bits(lanes: [Self; 4]) -> u32 {
            let lanes = lanes.iter().flat_map(|Lanes(lanes)| lanes);
            lanes.enumerate().fold(0, |bits, (lane, holds)| bits | (*holds as u32 & 1) << lane)
        }

        /// A byte for each lane of comparisons: 255 where it holds, else 0.
        #[inline(always)]
        pub(crate) fn bytes(lanes: [Self; 4]) -> [u8; 16] {
            from_fn(|place| lanes[place / LANES].0[place % LANES] as u8)
        }
    }

    /// A bit for each byte: its highest one.
    pub(crate) fn bits_of(bytes: &[u8; 32]) -> u32 {
        bytes.iter().enumerate().fold(0, |bits, (place, &byte)| bits | u32::from(byte >> 7) << place)
    }

    /// Eight sums in `f64`.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Sums([f64; 8]);

    impl Sums {
        /// Adds the magnitude of each number to its sum.
        pub(crate) fn add_magnitudes(&mut self, numbers: &[[u8; 4]; 8]) {
            add_magnitudes(&mut self.0, false, numbers);
        }

        /// Adds the magnitude of one number to one sum.
        fn add_one(&mut self, lane: usize, number: [u8; 4]) {
            self.0[lane] += f64::from(f32::from_le_bytes(number).abs());
        }

        /// The same of fewer numbers than there are sums.
        #[inline(always)]
        pub(crate) fn add_last_magnitudes(&mut self, numbers: &[[u8; 4]]) {
            add_magnitudes(&mut self.0, false, numbers);
        }

        /// All of them, added as a balanced tree.
        #[inline(always)]
        pub(crate) fn sum(self) -> f64 {
            let [a, b, c, d, e, f, g, h] = self.0;
            ((a + e) + (c + g)) + ((b + f) + (d + h))
        }
    }

    /// Adds up the magnitudes of each column of rows that are as long as there are sums, in the order of [`Sums`].
    pub(crate) fn sum_magnitudes(rows: &[&[[u8; 4]]], sums: &mut [f64]) {
        for (column, sum) in sums.iter_mut().enumerate() {
            let mut lanes = Sums::default();
            for (lane, row) in rows.iter().enumerate() {
                lanes.add_one(lane % 8, row[column]);
            }
            *sum = lanes.sum();
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
    #[inline(always)]
    pub(crate) fn to_array(self) -> [i32; LANES] {
        let mut numbers = [0; LANES];
        self.write(&mut numbers);
        numbers
    }

    /// How many comparisons held, where these were added to 0.
    #[inline(always)]
    pub(crate) fn count(self) -> u32 {
        self.to_array().iter().sum::<i32>().unsigned_abs()
    }

    #[inline(always)]
    pub(crate) fn highest(self) -> i32 {
        self.to_array().into_iter().fold(i32::MIN, i32::max)
    }
}
