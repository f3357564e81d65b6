//! Registers of wasm's `simd128`.

use super::register::{HALVES, LANES, Narrow, Pair, Register, Wide};
use std::arch::wasm32::*;

#[derive(Clone, Copy)]
pub(crate) struct Lanes(v128);

impl Register for Lanes {
    type Number = i32;
    type Numbers = [i32; LANES];
    type Stored = [[u8; 4]; LANES];

    #[inline(always)]
    fn splat(number: i32) -> Self {
        Lanes(i32x4_splat(number))
    }

    #[inline(always)]
    fn load(numbers: &[[u8; 4]; LANES]) -> Self {
        // SAFETY: the array is as long as the register, and this load has no alignment.
        Lanes(unsafe { v128_load(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, numbers: &mut [[u8; 4]; LANES]) {
        // SAFETY: the array is as long as the register, and this store has no alignment.
        unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn to_array(self) -> [i32; LANES] {
        let mut numbers = [0; LANES];
        self.write(&mut numbers);
        numbers
    }

    #[inline(always)]
    fn without(self, mask: Self) -> Self {
        Lanes(v128_andnot(self.0, mask.0))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Lanes(v128_or(self.0, other.0))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Lanes(i32x4_add(self.0, other.0))
    }

    #[inline(always)]
    fn is_less(self, other: Self) -> Self {
        Lanes(i32x4_lt(self.0, other.0))
    }

    #[inline(always)]
    fn is_equal(self, other: Self) -> Self {
        Lanes(i32x4_eq(self.0, other.0))
    }
}

impl Wide for Lanes {
    #[inline(always)]
    fn load_halves(numbers: &[[u8; 2]; LANES]) -> Self {
        // SAFETY: the array is half as long as the register, and this load has no alignment.
        Lanes(u32x4_extend_low_u16x8(unsafe { v128_load64_zero(numbers.as_ptr().cast()) }))
    }

    #[inline(always)]
    fn read(numbers: &[i32; LANES]) -> Self {
        // SAFETY: the array is as long as the register.
        Lanes(unsafe { v128_load(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn write(self, numbers: &mut [i32; LANES]) {
        // SAFETY: the array is as long as the register.
        unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn write_floats(self, numbers: &mut [f32; LANES]) {
        // SAFETY: the array is as long as the register, and this store has no alignment.
        unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Lanes(v128_and(self.0, other.0))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Lanes(i32x4_max(self.0, other.0))
    }

    #[inline(always)]
    fn read_floats(numbers: &[f32; LANES]) -> Self {
        // SAFETY: the array is as long as the register.
        Lanes(unsafe { v128_load(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn multiply_floats(self, other: Self) -> Self {
        Lanes(f32x4_mul(self.0, other.0))
    }

    #[inline(always)]
    fn add_floats(self, other: Self) -> Self {
        Lanes(f32x4_add(self.0, other.0))
    }

    #[inline(always)]
    fn keys_of_scores(self) -> Self {
        // This minimum keeps its first operand where the second is not a number.
        let bits = f32x4_pmin(f32x4_splat(f32::INFINITY), f32x4_add(self.0, f32x4_splat(0.0)));
        Lanes(v128_xor(bits, u32x4_shr(i32x4_shr(bits, 31), 1)))
    }

    #[inline(always)]
    fn magnitudes_of_float16(self) -> Self {
        let magnitudes = i32x4_shl(v128_and(self.0, i32x4_splat(0x7fff)), 13);
        let values = f32x4_mul(magnitudes, i32x4_splat((112 + 127) << 23));
        let exponent = i32x4_splat(0x7c00);
        let infinite_or_nan = i32x4_eq(v128_and(self.0, exponent), exponent);
        Lanes(v128_or(values, v128_and(infinite_or_nan, i32x4_splat(0x7f80_0000))))
    }

    #[inline(always)]
    fn magnitudes_of_bfloat16(self) -> Self {
        Lanes(i32x4_shl(v128_and(self.0, i32x4_splat(0x7fff)), 16))
    }

    #[inline(always)]
    fn signs_of_halves(self) -> Self {
        Lanes(i32x4_shl(v128_and(self.0, i32x4_splat(0x8000)), 16))
    }

    #[inline(always)]
    fn transposed([a, b, c, d]: [Self; LANES]) -> [Self; LANES] {
        let low = [i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0), i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0)];
        let high = [i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0), i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0)];
        let halves = |[a, b]: [v128; 2]| [i64x2_shuffle::<0, 2>(a, b), i64x2_shuffle::<1, 3>(a, b)];
        let ([a, b], [c, d]) = (halves(low), halves(high));
        [Lanes(a), Lanes(b), Lanes(c), Lanes(d)]
    }

    #[inline(always)]
    fn bits(comparisons: [Self; 4]) -> u32 {
        u32::from(i8x16_bitmask(narrowed(comparisons)))
    }

    #[inline(always)]
    fn bytes(comparisons: [Self; 4]) -> [u8; 16] {
        let mut bytes = [0; 16];
        // SAFETY: the array is as long as the register, and this store has no alignment.
        unsafe { v128_store(bytes.as_mut_ptr().cast(), narrowed(comparisons)) };
        bytes
    }

    #[inline(always)]
    fn bytes_of_each(comparisons: [Self; 4]) -> [[u8; LANES]; 4] {
        let bytes = narrowed(comparisons);
        [
            i32x4_extract_lane::<0>(bytes).to_le_bytes(),
            i32x4_extract_lane::<1>(bytes).to_le_bytes(),
            i32x4_extract_lane::<2>(bytes).to_le_bytes(),
            i32x4_extract_lane::<3>(bytes).to_le_bytes(),
        ]
    }
}

#[inline(always)]
fn narrowed([a, b, c, d]: [Lanes; 4]) -> v128 {
    i8x16_narrow_i16x8(i16x8_narrow_i32x4(a.0, b.0), i16x8_narrow_i32x4(c.0, d.0))
}

#[derive(Clone, Copy)]
pub(crate) struct Halves(v128);

impl Register for Halves {
    type Number = i16;
    type Numbers = [i16; HALVES];
    type Stored = [[u8; 2]; HALVES];

    #[inline(always)]
    fn splat(number: i16) -> Self {
        Halves(i16x8_splat(number))
    }

    #[inline(always)]
    fn load(numbers: &[[u8; 2]; HALVES]) -> Self {
        // SAFETY: the array is as long as the register, and this load has no alignment.
        Halves(unsafe { v128_load(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, numbers: &mut [[u8; 2]; HALVES]) {
        // SAFETY: the array is as long as the register, and this store has no alignment.
        unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn to_array(self) -> [i16; HALVES] {
        let mut numbers = [0; HALVES];
        // SAFETY: the array is as long as the register, and this store has no alignment.
        unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) };
        numbers
    }

    #[inline(always)]
    fn without(self, mask: Self) -> Self {
        Halves(v128_andnot(self.0, mask.0))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Halves(v128_or(self.0, other.0))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Halves(i16x8_add(self.0, other.0))
    }

    #[inline(always)]
    fn is_less(self, other: Self) -> Self {
        Halves(i16x8_lt(self.0, other.0))
    }

    #[inline(always)]
    fn is_equal(self, other: Self) -> Self {
        Halves(i16x8_eq(self.0, other.0))
    }
}

impl Narrow for Halves {
    #[inline(always)]
    fn magnitudes(self) -> Self {
        Halves(v128_and(self.0, i16x8_splat(i16::MAX)))
    }

    #[inline(always)]
    fn without_bit(bits: u8) -> Self {
        let own = v128_and(i16x8_splat(bits.into()), i16x8(1, 2, 4, 8, 16, 32, 64, 128));
        Halves(i16x8_eq(own, i16x8_splat(0)))
    }

    #[inline(always)]
    fn bits(low: Self, high: Self) -> u32 {
        u32::from(i8x16_bitmask(i8x16_narrow_i16x8(low.0, high.0)))
    }
}

#[inline(always)]
pub(crate) fn bits_of(bytes: &[u8; 32]) -> u32 {
    let (halves, _) = bytes.as_chunks::<16>();
    // SAFETY: the array is as long as the register, and this load has no alignment.
    let [low, high] = [0, 1].map(|half| u32::from(i8x16_bitmask(unsafe { v128_load(halves[half].as_ptr().cast()) })));
    low | high << 16
}

#[derive(Clone, Copy)]
pub(super) struct Doubles(v128);

impl Pair for Doubles {
    type Lanes = Lanes;

    #[inline(always)]
    fn splat(number: f64) -> Self {
        Doubles(f64x2_splat(number))
    }

    #[inline(always)]
    fn read(numbers: &[f64; 2]) -> Self {
        // SAFETY: the array is as long as the register.
        Doubles(unsafe { v128_load(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn write(self, numbers: &mut [f64; 2]) {
        // SAFETY: the array is as long as the register.
        unsafe { v128_store(numbers.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Doubles(f64x2_add(self.0, other.0))
    }

    #[inline(always)]
    fn divide(self, divisor: Self) -> Self {
        Doubles(f64x2_div(self.0, divisor.0))
    }

    #[inline(always)]
    fn widened(Lanes(lanes): Lanes) -> [Self; 2] {
        let upper = i32x4_shuffle::<2, 3, 2, 3>(lanes, lanes);
        [Doubles(f64x2_promote_low_f32x4(lanes)), Doubles(f64x2_promote_low_f32x4(upper))]
    }

    #[inline(always)]
    fn magnitudes(numbers: &[[u8; 4]; LANES]) -> [Self; 2] {
        let magnitudes = f32x4_abs(Lanes::load(numbers).0);
        let upper = i32x4_shuffle::<2, 3, 2, 3>(magnitudes, magnitudes);
        [Doubles(f64x2_promote_low_f32x4(magnitudes)), Doubles(f64x2_promote_low_f32x4(upper))]
    }

    #[inline(always)]
    fn write_rounded(pairs: [Self; 2], numbers: &mut [f32; LANES]) {
        let [low, high] = pairs.map(|pair| f32x4_demote_f64x2_zero(pair.0));
        // SAFETY: the array is as long as the register, and this store has no alignment.
        unsafe { v128_store(numbers.as_mut_ptr().cast(), i64x2_shuffle::<0, 2>(low, high)) }
    }
}
