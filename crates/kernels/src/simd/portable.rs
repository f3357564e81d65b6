//! Registers as arrays, for every other target.

use std::array::from_fn;

use super::register::{HALVES, LANES, Narrow, Pair, Register, Wide};
use crate::scalar::{key_of, widen_float16};

#[derive(Clone, Copy)]
pub(crate) struct Lanes([i32; LANES]);

impl Register for Lanes {
    type Number = i32;
    type Numbers = [i32; LANES];
    type Stored = [[u8; 4]; LANES];

    #[inline(always)]
    fn splat(number: i32) -> Self {
        Lanes([number; LANES])
    }

    #[inline(always)]
    fn load(numbers: &[[u8; 4]; LANES]) -> Self {
        Lanes(numbers.map(i32::from_le_bytes))
    }

    #[inline(always)]
    fn store(self, numbers: &mut [[u8; 4]; LANES]) {
        *numbers = self.0.map(i32::to_le_bytes);
    }

    #[inline(always)]
    fn to_array(self) -> [i32; LANES] {
        self.0
    }

    #[inline(always)]
    fn without(self, mask: Self) -> Self {
        Lanes(from_fn(|lane| self.0[lane] & !mask.0[lane]))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Lanes(from_fn(|lane| self.0[lane] | other.0[lane]))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Lanes(from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }

    #[inline(always)]
    fn is_less(self, other: Self) -> Self {
        Lanes(from_fn(|lane| -i32::from(self.0[lane] < other.0[lane])))
    }

    #[inline(always)]
    fn is_equal(self, other: Self) -> Self {
        Lanes(from_fn(|lane| -i32::from(self.0[lane] == other.0[lane])))
    }
}

impl Wide for Lanes {
    #[inline(always)]
    fn load_halves(numbers: &[[u8; 2]; LANES]) -> Self {
        Lanes(numbers.map(|number| u16::from_le_bytes(number).into()))
    }

    #[inline(always)]
    fn read(numbers: &[i32; LANES]) -> Self {
        Lanes(*numbers)
    }

    #[inline(always)]
    fn write(self, numbers: &mut [i32; LANES]) {
        *numbers = self.0;
    }

    #[inline(always)]
    fn write_floats(self, numbers: &mut [f32; LANES]) {
        *numbers = self.0.map(|bits| f32::from_bits(bits as u32));
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Lanes(from_fn(|lane| self.0[lane] & other.0[lane]))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Lanes(from_fn(|lane| self.0[lane].max(other.0[lane])))
    }

    #[inline(always)]
    fn read_floats(numbers: &[f32; LANES]) -> Self {
        Lanes(numbers.map(|number| number.to_bits().cast_signed()))
    }

    #[inline(always)]
    fn multiply_floats(self, other: Self) -> Self {
        let float = |lanes: Self, lane: usize| f32::from_bits(lanes.0[lane].cast_unsigned());
        Lanes(from_fn(|lane| (float(self, lane) * float(other, lane)).to_bits().cast_signed()))
    }

    #[inline(always)]
    fn add_floats(self, other: Self) -> Self {
        let float = |lanes: Self, lane: usize| f32::from_bits(lanes.0[lane].cast_unsigned());
        Lanes(from_fn(|lane| (float(self, lane) + float(other, lane)).to_bits().cast_signed()))
    }

    #[inline(always)]
    fn keys_of_scores(self) -> Self {
        Lanes(self.0.map(|bits| key_of(f32::from_bits(bits as u32))))
    }

    #[inline(always)]
    fn magnitudes_of_float16(self) -> Self {
        Lanes(self.0.map(|bits| widen_float16(bits as u16 & 0x7fff).to_bits() as i32))
    }

    #[inline(always)]
    fn magnitudes_of_bfloat16(self) -> Self {
        Lanes(self.0.map(|bits| (bits & 0x7fff) << 16))
    }

    #[inline(always)]
    fn signs_of_halves(self) -> Self {
        Lanes(self.0.map(|bits| (bits & 0x8000) << 16))
    }

    #[inline(always)]
    fn transposed(registers: [Self; LANES]) -> [Self; LANES] {
        from_fn(|row| Lanes(from_fn(|lane| registers[lane].0[row])))
    }

    #[inline(always)]
    fn bits(comparisons: [Self; 4]) -> u32 {
        let lanes = comparisons.iter().flat_map(|Lanes(lanes)| lanes);
        lanes.enumerate().fold(0, |bits, (lane, holds)| bits | (*holds as u32 & 1) << lane)
    }

    #[inline(always)]
    fn bytes(comparisons: [Self; 4]) -> [u8; 16] {
        from_fn(|place| comparisons[place / LANES].0[place % LANES] as u8)
    }

    #[inline(always)]
    fn bytes_of_each(comparisons: [Self; 4]) -> [[u8; LANES]; 4] {
        comparisons.map(|Lanes(lanes)| lanes.map(|lane| lane as u8))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Halves([i16; HALVES]);

impl Register for Halves {
    type Number = i16;
    type Numbers = [i16; HALVES];
    type Stored = [[u8; 2]; HALVES];

    #[inline(always)]
    fn splat(number: i16) -> Self {
        Halves([number; HALVES])
    }

    #[inline(always)]
    fn load(numbers: &[[u8; 2]; HALVES]) -> Self {
        Halves(numbers.map(i16::from_le_bytes))
    }

    #[inline(always)]
    fn store(self, numbers: &mut [[u8; 2]; HALVES]) {
        *numbers = self.0.map(i16::to_le_bytes);
    }

    #[inline(always)]
    fn to_array(self) -> [i16; HALVES] {
        self.0
    }

    #[inline(always)]
    fn without(self, mask: Self) -> Self {
        Halves(from_fn(|lane| self.0[lane] & !mask.0[lane]))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Halves(from_fn(|lane| self.0[lane] | other.0[lane]))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Halves(from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }

    #[inline(always)]
    fn is_less(self, other: Self) -> Self {
        Halves(from_fn(|lane| -i16::from(self.0[lane] < other.0[lane])))
    }

    #[inline(always)]
    fn is_equal(self, other: Self) -> Self {
        Halves(from_fn(|lane| -i16::from(self.0[lane] == other.0[lane])))
    }
}

impl Narrow for Halves {
    #[inline(always)]
    fn magnitudes(self) -> Self {
        Halves(self.0.map(|bits| bits & i16::MAX))
    }

    #[inline(always)]
    fn without_bit(bits: u8) -> Self {
        Halves(from_fn(|lane| -i16::from(bits >> lane & 1 == 0)))
    }

    #[inline(always)]
    fn bits(low: Self, high: Self) -> u32 {
        let lanes = low.0.iter().chain(&high.0).enumerate();
        lanes.fold(0, |bits, (lane, holds)| bits | (*holds as u32 & 1) << lane)
    }
}

pub(crate) fn bits_of(bytes: &[u8; 32]) -> u32 {
    bytes.iter().enumerate().fold(0, |bits, (place, &byte)| bits | u32::from(byte >> 7) << place)
}

#[derive(Clone, Copy)]
pub(super) struct Doubles([f64; 2]);

impl Pair for Doubles {
    type Lanes = Lanes;

    #[inline(always)]
    fn splat(number: f64) -> Self {
        Doubles([number; 2])
    }

    #[inline(always)]
    fn read(numbers: &[f64; 2]) -> Self {
        Doubles(*numbers)
    }

    #[inline(always)]
    fn write(self, numbers: &mut [f64; 2]) {
        *numbers = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Doubles(from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    fn divide(self, divisor: Self) -> Self {
        Doubles(from_fn(|lane| self.0[lane] / divisor.0[lane]))
    }

    #[inline(always)]
    fn widened(lanes: Lanes) -> [Self; 2] {
        let [a, b, c, d] = lanes.0.map(|bits| f64::from(f32::from_bits(bits.cast_unsigned())));
        [Doubles([a, b]), Doubles([c, d])]
    }

    #[inline(always)]
    fn magnitudes(numbers: &[[u8; 4]; LANES]) -> [Self; 2] {
        let magnitudes = numbers.map(|number| f64::from(f32::from_le_bytes(number).abs()));
        [Doubles([magnitudes[0], magnitudes[1]]), Doubles([magnitudes[2], magnitudes[3]])]
    }

    #[inline(always)]
    fn write_rounded([low, high]: [Self; 2], numbers: &mut [f32; LANES]) {
        *numbers = [low.0[0], low.0[1], high.0[0], high.0[1]].map(|number| number as f32);
    }
}
