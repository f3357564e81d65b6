//! Whole numbers side by side in one SIMD register.
//!
//! Compilers make SIMD of plain loops, but not of those that turn comparisons into bits; here each operation is one or
//! two instructions. Elsewhere than in wasm the same operations are loops.

#[cfg(not(target_feature = "simd128"))]
pub(crate) use portable::{Halves, Lanes, Sums, add_magnitudes, bits_of, quotients, sum_magnitudes};
#[cfg(target_feature = "simd128")]
pub(crate) use wasm::{Halves, Lanes, Sums, add_magnitudes, bits_of, quotients, sum_magnitudes};

/// Numbers in a register.
pub(crate) const LANES: usize = 4;

/// Numbers of 16 bits in a register.
pub(crate) const HALVES: usize = 8;

/// A lane of a comparison that holds is -1, which has all bits set; otherwise it is 0.
#[cfg(target_feature = "simd128")]
mod wasm {
    use super::{HALVES, LANES};
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

        /// Numbers of 16 bits.
        #[inline(always)]
        pub(crate) fn load_halves(numbers: &[[u8; 2]; LANES]) -> Self {
            // SAFETY: the array is half as long as the register, and this load has no alignment.
            Lanes(u32x4_extend_low_u16x8(unsafe { v128_load64_zero(numbers.as_ptr().cast()) }))
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

        /// The keys of scores (`key_of`).
        #[inline(always)]
        pub(crate) fn keys_of_scores(self) -> Self {
            // This minimum keeps its first operand where the second is not a number.
            let bits = f32x4_pmin(f32x4_splat(f32::INFINITY), f32x4_add(self.0, f32x4_splat(0.0)));
            Lanes(v128_xor(bits, u32x4_shr(i32x4_shr(bits, 31), 1)))
        }

        /// The bits of the magnitudes of numbers of 16 bits, widened exactly (`widen_float16`).
        #[inline(always)]
        pub(crate) fn magnitudes_of_float16(self) -> Self {
            let magnitudes = i32x4_shl(v128_and(self.0, i32x4_splat(0x7fff)), 13);
            let values = f32x4_mul(magnitudes, i32x4_splat((112 + 127) << 23));
            let exponent = i32x4_splat(0x7c00);
            let infinite_or_nan = i32x4_eq(v128_and(self.0, exponent), exponent);
            Lanes(v128_or(values, v128_and(infinite_or_nan, i32x4_splat(0x7f80_0000))))
        }

        /// The same of the upper halves of numbers.
        #[inline(always)]
        pub(crate) fn magnitudes_of_bfloat16(self) -> Self {
            Lanes(i32x4_shl(v128_and(self.0, i32x4_splat(0x7fff)), 16))
        }

        /// The signs of numbers of 16 bits, where those of 32 have them.
        #[inline(always)]
        pub(crate) fn signs_of_halves(self) -> Self {
            Lanes(i32x4_shl(v128_and(self.0, i32x4_splat(0x8000)), 16))
        }

        /// Bits become the numbers that have them.
        #[inline(always)]
        pub(crate) fn write_floats(self, numbers: &mut [f32; LANES]) {
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
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

        #[inline(always)]
        fn narrowed([a, b, c, d]: [Self; 4]) -> v128 {
            i8x16_narrow_i16x8(i16x8_narrow_i32x4(a.0, b.0), i16x8_narrow_i32x4(c.0, d.0))
        }

        /// A bit for each lane of comparisons: 1 where it holds.
        #[inline(always)]
        pub(crate) fn bits(lanes: [Self; 4]) -> u32 {
            u32::from(i8x16_bitmask(Self::narrowed(lanes)))
        }

        /// A byte for each lane of comparisons: 255 where it holds, else 0.
        #[inline(always)]
        pub(crate) fn bytes(lanes: [Self; 4]) -> [u8; 16] {
            let mut bytes = [0; 16];
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(bytes.as_mut_ptr().cast(), Self::narrowed(lanes)) };
            bytes
        }

        /// The same in four parts.
        #[inline(always)]
        pub(crate) fn bytes_of_each(lanes: [Self; 4]) -> [[u8; LANES]; 4] {
            let bytes = Self::narrowed(lanes);
            [
                i32x4_extract_lane::<0>(bytes).to_le_bytes(),
                i32x4_extract_lane::<1>(bytes).to_le_bytes(),
                i32x4_extract_lane::<2>(bytes).to_le_bytes(),
                i32x4_extract_lane::<3>(bytes).to_le_bytes(),
            ]
        }
    }

    /// Numbers of 16 bits side by side. Comparisons are as in [`Lanes`].
    #[derive(Clone, Copy)]
    pub(crate) struct Halves(v128);

    impl Halves {
        #[inline(always)]
        pub(crate) fn splat(number: i16) -> Self {
            Halves(i16x8_splat(number))
        }

        #[inline(always)]
        pub(crate) fn load(numbers: &[[u8; 2]; HALVES]) -> Self {
            // SAFETY: the array is as long as the register, and this load has no alignment.
            Halves(unsafe { v128_load(numbers.as_ptr().cast()) })
        }

        #[inline(always)]
        pub(crate) fn store(self, numbers: &mut [[u8; 2]; HALVES]) {
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
        }

        /// The bits without the sign.
        #[inline(always)]
        pub(crate) fn magnitudes(self) -> Self {
            Halves(v128_and(self.0, i16x8_splat(i16::MAX)))
        }

        /// The lanes for which `mask` is 0; the others become 0.
        #[inline(always)]
        pub(crate) fn without(self, mask: Self) -> Self {
            Halves(v128_andnot(self.0, mask.0))
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Self) -> Self {
            Halves(v128_or(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            Halves(i16x8_add(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn is_less(self, other: Self) -> Self {
            Halves(i16x8_lt(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn is_equal(self, other: Self) -> Self {
            Halves(i16x8_eq(self.0, other.0))
        }

        /// Holds in the lanes whose bit is 0.
        #[inline(always)]
        pub(crate) fn without_bit(bits: u8) -> Self {
            let own = v128_and(i16x8_splat(bits.into()), i16x8(1, 2, 4, 8, 16, 32, 64, 128));
            Halves(i16x8_eq(own, i16x8_splat(0)))
        }

        /// A bit for each lane of comparisons: 1 where it holds.
        #[inline(always)]
        pub(crate) fn bits(low: Self, high: Self) -> u32 {
            u32::from(i8x16_bitmask(i8x16_narrow_i16x8(low.0, high.0)))
        }

        #[inline(always)]
        pub(super) fn to_array(self) -> [i16; HALVES] {
            let mut numbers = [0; HALVES];
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) };
            numbers
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
        #[inline(always)]
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

        /// Adds the magnitude of one number to the first sum.
        #[inline(always)]
        pub(crate) fn add_to_first(&mut self, number: [u8; 4]) {
            let magnitude = f32::from_le_bytes(number).abs();
            self.0[0] = f64x2_add(self.0[0], f64x2(magnitude.into(), 0.0));
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
    #[inline(never)]
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

    /// Adds the magnitudes of rows to sums, one for each column, or to 0: those of the first row, then of the second, and
    /// so on.
    #[inline(never)]
    pub(crate) fn add_magnitudes<const ROWS: usize>(sums: &mut [f64], is_first: bool, rows: [&[[u8; 4]]; ROWS]) {
        let (quads, last) = sums.as_chunks_mut::<LANES>();
        let whole = quads.len() * LANES;
        for (quad, sums) in quads.iter_mut().enumerate() {
            let place: *mut v128 = sums.as_mut_ptr().cast();
            // SAFETY: each half of the array is as long as the register, and loads have no alignment.
            let [mut low, mut high] = [0, 1].map(|half| unsafe { v128_load(place.add(half)) });
            if is_first {
                (low, high) = (f64x2_splat(0.0), f64x2_splat(0.0));
            }
            for row in rows {
                let [a, b] = magnitudes(&row.as_chunks::<LANES>().0[quad]);
                (low, high) = (f64x2_add(low, a), f64x2_add(high, b));
            }
            for (half, sum) in [low, high].into_iter().enumerate() {
                // SAFETY: each half of the array is as long as the register, and stores have no alignment.
                unsafe { v128_store(place.add(half), sum) };
            }
        }
        for (column, sum) in (whole..).zip(last) {
            *sum = if is_first { 0.0 } else { *sum };
            rows.iter().for_each(|row| *sum += f64::from(f32::from_le_bytes(row[column]).abs()));
        }
    }

    /// Divides each result, and rounds to `f32`.
    #[inline(never)]
    pub(crate) fn quotients(results: &[f64], divisor: f64, scores: &mut [f32]) {
        let divisors = f64x2_splat(divisor);
        let (quads, last) = results.as_chunks::<LANES>();
        let (wholes, rest) = scores.as_chunks_mut::<LANES>();
        for (results, scores) in quads.iter().zip(wholes) {
            let place: *const v128 = results.as_ptr().cast();
            // SAFETY: each half of the array is as long as the register, and loads have no alignment.
            let halves = [0, 1].map(|half| unsafe { v128_load(place.add(half)) });
            let [low, high] = halves.map(|half| f32x4_demote_f64x2_zero(f64x2_div(half, divisors)));
            // SAFETY: the array is as long as the register, and this store has no alignment.
            unsafe { v128_store(scores.as_mut_ptr().cast(), i64x2_shuffle::<0, 2>(low, high)) };
        }
        for (result, score) in last.iter().zip(rest) {
            *score = (result / divisor) as f32;
        }
    }
}

#[cfg(not(target_feature = "simd128"))]
mod portable {
    use super::{HALVES, LANES};
    use crate::keys::key_of;
    use crate::numbers::widen_float16;
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

        /// Numbers of 16 bits.
        #[inline(always)]
        pub(crate) fn load_halves(numbers: &[[u8; 2]; LANES]) -> Self {
            Lanes(numbers.map(|number| u16::from_le_bytes(number).into()))
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

        /// The keys of scores.
        #[inline(always)]
        pub(crate) fn keys_of_scores(self) -> Self {
            Lanes(self.0.map(|bits| key_of(f32::from_bits(bits as u32))))
        }

        /// The bits of the magnitudes of numbers of 16 bits, widened exactly.
        #[inline(always)]
        pub(crate) fn magnitudes_of_float16(self) -> Self {
            Lanes(self.0.map(|bits| widen_float16(bits as u16 & 0x7fff).to_bits() as i32))
        }

        /// The same of the upper halves of numbers.
        #[inline(always)]
        pub(crate) fn magnitudes_of_bfloat16(self) -> Self {
            Lanes(self.0.map(|bits| (bits & 0x7fff) << 16))
        }

        /// The signs of numbers of 16 bits, where those of 32 have them.
        #[inline(always)]
        pub(crate) fn signs_of_halves(self) -> Self {
            Lanes(self.0.map(|bits| (bits & 0x8000) << 16))
        }

        /// Bits become the numbers that have them.
        #[inline(always)]
        pub(crate) fn write_floats(self, numbers: &mut [f32; LANES]) {
            *numbers = self.0.map(|bits| f32::from_bits(bits as u32));
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

        /// The same in four parts.
        #[inline(always)]
        pub(crate) fn bytes_of_each(lanes: [Self; 4]) -> [[u8; LANES]; 4] {
            lanes.map(|Lanes(lanes)| lanes.map(|lane| lane as u8))
        }
    }

    /// Numbers of 16 bits side by side. Comparisons are as in [`Lanes`].
    #[derive(Clone, Copy)]
    pub(crate) struct Halves([i16; HALVES]);

    impl Halves {
        #[inline(always)]
        pub(crate) fn splat(number: i16) -> Self {
            Halves([number; HALVES])
        }

        #[inline(always)]
        pub(crate) fn load(numbers: &[[u8; 2]; HALVES]) -> Self {
            Halves(numbers.map(i16::from_le_bytes))
        }

        #[inline(always)]
        pub(crate) fn store(self, numbers: &mut [[u8; 2]; HALVES]) {
            *numbers = self.0.map(i16::to_le_bytes);
        }

        /// The bits without the sign.
        #[inline(always)]
        pub(crate) fn magnitudes(self) -> Self {
            Halves(self.0.map(|bits| bits & i16::MAX))
        }

        /// The lanes for which `mask` is 0; the others become 0.
        #[inline(always)]
        pub(crate) fn without(self, mask: Self) -> Self {
            Halves(from_fn(|lane| self.0[lane] & !mask.0[lane]))
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Self) -> Self {
            Halves(from_fn(|lane| self.0[lane] | other.0[lane]))
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            Halves(from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
        }

        #[inline(always)]
        pub(crate) fn is_less(self, other: Self) -> Self {
            Halves(from_fn(|lane| -i16::from(self.0[lane] < other.0[lane])))
        }

        #[inline(always)]
        pub(crate) fn is_equal(self, other: Self) -> Self {
            Halves(from_fn(|lane| -i16::from(self.0[lane] == other.0[lane])))
        }

        /// Holds in the lanes whose bit is 0.
        #[inline(always)]
        pub(crate) fn without_bit(bits: u8) -> Self {
            Halves(from_fn(|lane| -i16::from(bits >> lane & 1 == 0)))
        }

        /// A bit for each lane of comparisons: 1 where it holds.
        #[inline(always)]
        pub(crate) fn bits(low: Self, high: Self) -> u32 {
            let lanes = low.0.iter().chain(&high.0).enumerate();
            lanes.fold(0, |bits, (lane, holds)| bits | (*holds as u32 & 1) << lane)
        }

        #[inline(always)]
        pub(super) fn to_array(self) -> [i16; HALVES] {
            self.0
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
            add_magnitudes(&mut self.0, false, [numbers]);
        }

        /// Adds the magnitude of one number to one sum.
        fn add_one(&mut self, lane: usize, number: [u8; 4]) {
            self.0[lane] += f64::from(f32::from_le_bytes(number).abs());
        }

        /// Adds the magnitude of one number to the first sum.
        #[inline(always)]
        pub(crate) fn add_to_first(&mut self, number: [u8; 4]) {
            self.add_one(0, number);
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

    /// Adds the magnitudes of rows to sums, one for each column, or to 0: those of the first row, then of the second, and
    /// so on.
    pub(crate) fn add_magnitudes<const ROWS: usize>(sums: &mut [f64], is_first: bool, rows: [&[[u8; 4]]; ROWS]) {
        for (column, sum) in sums.iter_mut().enumerate() {
            *sum = if is_first { 0.0 } else { *sum };
            rows.iter().for_each(|row| *sum += f64::from(f32::from_le_bytes(row[column]).abs()));
        }
    }

    /// Divides each result, and rounds to `f32`.
    pub(crate) fn quotients(results: &[f64], divisor: f64, scores: &mut [f32]) {
        for (result, score) in results.iter().zip(scores) {
            *score = (result / divisor) as f32;
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

impl Halves {
    /// How many comparisons held, where fewer than 2^15 of each lane were added to 0.
    #[inline(always)]
    pub(crate) fn count(self) -> u32 {
        self.to_array().into_iter().map(|lane| u32::from(lane.unsigned_abs())).sum()
    }
}
