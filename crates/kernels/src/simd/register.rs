//! What registers do on every target: [`Lanes`](super::Lanes) hold numbers of 32 bits, [`Halves`](super::Halves) of 16, and
//! pairs the sums in `f64`. Beside them stands `bits_of`, which gives a bit for each byte: its highest one.

/// How many numbers of 32 bits a register has.
pub(crate) const LANES: usize = 4;

/// How many numbers of 16 bits a register has.
pub(crate) const HALVES: usize = 8;

/// What a register does, whatever the size of its numbers. A lane of a comparison that holds is -1, which has all bits set;
/// otherwise it is 0.
pub(crate) trait Register: Copy {
    type Number;
    /// As many numbers as the register has lanes.
    type Numbers;
    /// The same as files hold them: little-endian, at any address.
    type Stored;

    /// The same number in each lane.
    fn splat(number: Self::Number) -> Self;

    fn load(numbers: &Self::Stored) -> Self;

    fn store(self, numbers: &mut Self::Stored);

    fn to_array(self) -> Self::Numbers;

    /// The lanes for which `mask` is 0; the others become 0.
    fn without(self, mask: Self) -> Self;

    fn or(self, other: Self) -> Self;

    /// Wraps around.
    fn add(self, other: Self) -> Self;

    fn is_less(self, other: Self) -> Self;

    fn is_equal(self, other: Self) -> Self;
}

/// What [`Lanes`] do besides: keys are numbers of 32 bits.
pub(crate) trait Wide: Register<Number = i32, Numbers = [i32; LANES], Stored = [[u8; 4]; LANES]> {
    /// Numbers of 16 bits, with 16 bits of 0 above each.
    fn load_halves(numbers: &[[u8; 2]; LANES]) -> Self;

    fn read(numbers: &[i32; LANES]) -> Self;

    fn write(self, numbers: &mut [i32; LANES]);

    /// Bits become the numbers that have them.
    fn write_floats(self, numbers: &mut [f32; LANES]);

    fn and(self, other: Self) -> Self;

    fn max(self, other: Self) -> Self;

    /// The bits of floating-point numbers.
    fn read_floats(numbers: &[f32; LANES]) -> Self;

    /// Products of lanes that are floating-point numbers.
    fn multiply_floats(self, other: Self) -> Self;

    /// Sums of lanes that are floating-point numbers.
    fn add_floats(self, other: Self) -> Self;

    /// The keys of scores ([`key_of`](crate::scalar::key_of)).
    fn keys_of_scores(self) -> Self;

    /// The bits of the magnitudes of numbers of 16 bits, widened exactly
    /// ([`widen_float16`](crate::scalar::widen_float16)).
    fn magnitudes_of_float16(self) -> Self;

    /// The same of the upper halves of numbers ([`widen_bfloat16`](crate::scalar::widen_bfloat16)).
    fn magnitudes_of_bfloat16(self) -> Self;

    /// The signs of numbers of 16 bits, where those of 32 have them.
    fn signs_of_halves(self) -> Self;

    /// The first lanes of all, the second lanes of all, and so on.
    fn transposed(registers: [Self; LANES]) -> [Self; LANES];

    /// A bit for each lane of comparisons: 1 where it holds.
    fn bits(comparisons: [Self; 4]) -> u32;

    /// A byte for each lane of comparisons: 255 where it holds, else 0.
    fn bytes(comparisons: [Self; 4]) -> [u8; 16];

    /// The same in four parts.
    fn bytes_of_each(comparisons: [Self; 4]) -> [[u8; LANES]; 4];

    /// How many comparisons held, where these were added to 0.
    #[inline(always)]
    fn count(self) -> u32 {
        self.to_array().iter().sum::<i32>().unsigned_abs()
    }

    /// The largest lane.
    #[inline(always)]
    fn highest(self) -> i32 {
        self.to_array().into_iter().fold(i32::MIN, i32::max)
    }
}

/// What [`Halves`] do besides.
pub(crate) trait Narrow: Register<Number = i16, Numbers = [i16; HALVES], Stored = [[u8; 2]; HALVES]> {
    /// The bits without the sign.
    fn magnitudes(self) -> Self;

    /// A comparison that holds in the lanes whose bit is 0.
    fn without_bit(bits: u8) -> Self;

    /// A bit for each lane of comparisons: 1 where it holds.
    fn bits(low: Self, high: Self) -> u32;

    /// How many comparisons held, where fewer than 2^15 of each lane were added to 0.
    #[inline(always)]
    fn count(self) -> u32 {
        self.to_array().into_iter().map(|lane| u32::from(lane.unsigned_abs())).sum()
    }
}

/// Two numbers of 64 bits, in which sums are taken.
pub(super) trait Pair: Copy {
    /// A register of numbers of 32 bits.
    type Lanes;

    fn splat(number: f64) -> Self;

    fn read(numbers: &[f64; 2]) -> Self;

    fn write(self, numbers: &mut [f64; 2]);

    fn add(self, other: Self) -> Self;

    fn divide(self, divisor: Self) -> Self;

    /// Numbers of 32 bits, widened.
    fn widened(lanes: Self::Lanes) -> [Self; 2];

    /// The magnitudes of numbers of 32 bits, widened.
    fn magnitudes(numbers: &[[u8; 4]; LANES]) -> [Self; 2];

    /// Each rounded to 32 bits.
    fn write_rounded(pairs: [Self; 2], numbers: &mut [f32; LANES]);
}
