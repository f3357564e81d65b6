//! Sums of magnitudes and of squares in `f64`. Their order is that of the lanes of a fold (`score/fold.rs`).

#[cfg(not(target_feature = "simd128"))]
use super::portable::{Doubles, Lanes};
use super::register::{LANES, Pair, Register, Wide};
#[cfg(target_feature = "simd128")]
use super::wasm::{Doubles, Lanes};

/// So many sums run beside each other, enough to hide the latency of an addition: the n-th number of a unit is added to
/// sum n mod 8.
pub(crate) const SUMS: usize = 8;

/// Sums that run beside each other.
#[derive(Clone, Copy)]
pub(crate) struct Sums([Doubles; SUMS / 2]);

impl Default for Sums {
    #[inline(always)]
    fn default() -> Self {
        Sums([Doubles::splat(0.0); SUMS / 2])
    }
}

impl Sums {
    /// Adds the magnitude of each number to its sum.
    #[inline(always)]
    pub(crate) fn add_magnitudes(&mut self, numbers: &[[u8; 4]; SUMS]) {
        let (quads, _) = numbers.as_chunks::<LANES>();
        let ([a, b], [c, d]) = (Doubles::magnitudes(&quads[0]), Doubles::magnitudes(&quads[1]));
        for (sum, magnitudes) in self.0.iter_mut().zip([a, b, c, d]) {
            *sum = sum.add(magnitudes);
        }
    }

    /// Adds the magnitude of one number to one sum.
    fn add_one(&mut self, sum: usize, number: [u8; 4]) {
        let mut numbers = [[0; 4]; SUMS];
        numbers[sum] = number;
        self.add_magnitudes(&numbers);
    }

    /// Adds the magnitude of one number to the first sum.
    #[inline(always)]
    pub(crate) fn add_to_first(&mut self, number: [u8; 4]) {
        let magnitude = f32::from_le_bytes(number).abs();
        self.0[0] = self.0[0].add(Doubles::read(&[magnitude.into(), 0.0]));
    }

    /// All of them, added as a balanced tree.
    #[inline(always)]
    pub(crate) fn sum(self) -> f64 {
        let [ab, cd, ef, gh] = self.0;
        let mut pair = [0.0; 2];
        ab.add(ef).add(cd.add(gh)).write(&mut pair);
        pair[0] + pair[1]
    }
}

/// Sums of the squares of 32 numbers: of all, and of those that go. Each of four lanes adds up eight squares, in `f32`.
#[derive(Clone, Copy)]
pub(crate) struct SquaresOfWord {
    all: Lanes,
    going: Lanes,
    /// The numbers that go, combined by `or`.
    bits: Lanes,
}

impl Default for SquaresOfWord {
    #[inline(always)]
    fn default() -> Self {
        SquaresOfWord { all: Lanes::splat(0), going: Lanes::splat(0), bits: Lanes::splat(0) }
    }
}

impl SquaresOfWord {
    /// Adds four numbers; `going` is a comparison that holds for those that go.
    #[inline(always)]
    pub(crate) fn add(&mut self, numbers: Lanes, going: Lanes) {
        let squares = numbers.multiply_floats(numbers);
        self.all = self.all.add_floats(squares);
        self.going = self.going.add_floats(squares.and(going));
        self.bits = self.bits.or(numbers.and(going));
    }

    /// Adds four numbers that stay.
    #[inline(always)]
    pub(crate) fn add_staying(&mut self, numbers: Lanes) {
        self.all = self.all.add_floats(numbers.multiply_floats(numbers));
    }

    /// Adds four numbers that go.
    #[inline(always)]
    pub(crate) fn add_going(&mut self, numbers: Lanes) {
        self.add(numbers, Lanes::splat(-1));
    }
}

/// Sums of the squares of numbers: of all, and of those that go. Each lane of words is added up by itself, in `f64`.
#[derive(Clone, Copy)]
pub(crate) struct Squares {
    all: [Doubles; LANES / 2],
    going: [Doubles; LANES / 2],
    bits: Lanes,
}

impl Default for Squares {
    #[inline(always)]
    fn default() -> Self {
        let none = [Doubles::splat(0.0); LANES / 2];
        Squares { all: none, going: none, bits: Lanes::splat(0) }
    }
}

impl Squares {
    #[inline(always)]
    pub(crate) fn add(&mut self, word: SquaresOfWord) {
        for (sums, lanes) in [(&mut self.all, word.all), (&mut self.going, word.going)] {
            for (sum, pair) in sums.iter_mut().zip(Doubles::widened(lanes)) {
                *sum = sum.add(pair);
            }
        }
        self.bits = self.bits.or(word.bits);
    }

    /// Whether any of those that go is another number than 0, however small its square is.
    pub(crate) fn is_any_going(&self) -> bool {
        self.bits.to_array().into_iter().any(|bits| bits & i32::MAX != 0)
    }

    /// The sum of all, and of those that go.
    pub(crate) fn sums(self) -> [f64; 2] {
        [self.all, self.going].map(|[low, high]| {
            let mut pair = [0.0; 2];
            low.add(high).write(&mut pair);
            pair[0] + pair[1]
        })
    }
}

// None of these is inlined: compilers of wasm do not keep sums in registers where functions are large.

/// Adds up the magnitudes of each column of rows that are as long as there are sums, in the order of [`Sums`].
#[inline(never)]
pub(crate) fn sum_magnitudes(rows: &[&[[u8; 4]]], sums: &mut [f64]) {
    let quads = sums.len() / LANES;
    for quad in 0..quads {
        let place = quad * LANES;
        let lane = |lane: usize| {
            let mut sum = [Doubles::splat(0.0); 2];
            for row in rows.iter().skip(lane).step_by(SUMS) {
                let magnitudes = Doubles::magnitudes(&row.as_chunks::<LANES>().0[quad]);
                sum = [sum[0].add(magnitudes[0]), sum[1].add(magnitudes[1])];
            }
            sum
        };
        let add = |a: [Doubles; 2], b: [Doubles; 2]| [a[0].add(b[0]), a[1].add(b[1])];
        let pair = |low: usize| add(lane(low), lane(low + 4));
        let all = add(add(pair(0), pair(2)), add(pair(1), pair(3)));
        let (halves, _) = sums[place..place + LANES].as_chunks_mut::<2>();
        for (half, pair) in halves.iter_mut().zip(all) {
            pair.write(half);
        }
    }
    for column in quads * LANES..sums.len() {
        let mut lanes = Sums::default();
        for (lane, row) in rows.iter().enumerate() {
            lanes.add_one(lane % SUMS, row[column]);
        }
        sums[column] = lanes.sum();
    }
}

/// Adds the magnitudes of rows to sums, one for each column, or to 0: those of the first row, then of the second, and so
/// on.
#[inline(never)]
pub(crate) fn add_magnitudes<const ROWS: usize>(sums: &mut [f64], is_first: bool, rows: [&[[u8; 4]]; ROWS]) {
    let (quads, last) = sums.as_chunks_mut::<LANES>();
    let whole = quads.len() * LANES;
    for (quad, sums) in quads.iter_mut().enumerate() {
        let (halves, _) = sums.as_chunks_mut::<2>();
        let [mut low, mut high] = [0, 1].map(|half| Doubles::read(&halves[half]));
        if is_first {
            (low, high) = (Doubles::splat(0.0), Doubles::splat(0.0));
        }
        for row in rows {
            let [a, b] = Doubles::magnitudes(&row.as_chunks::<LANES>().0[quad]);
            (low, high) = (low.add(a), high.add(b));
        }
        low.write(&mut halves[0]);
        high.write(&mut halves[1]);
    }
    for (column, sum) in (whole..).zip(last) {
        *sum = if is_first { 0.0 } else { *sum };
        rows.iter().for_each(|row| *sum += f64::from(f32::from_le_bytes(row[column]).abs()));
    }
}

/// Divides each result, and rounds to `f32`.
#[inline(never)]
pub(crate) fn quotients(results: &[f64], divisor: f64, scores: &mut [f32]) {
    let divisors = Doubles::splat(divisor);
    let (quads, last) = results.as_chunks::<LANES>();
    let (wholes, rest) = scores.as_chunks_mut::<LANES>();
    for (results, scores) in quads.iter().zip(wholes) {
        let (halves, _) = results.as_chunks::<2>();
        Doubles::write_rounded([0, 1].map(|half| Doubles::read(&halves[half]).divide(divisors)), scores);
    }
    for (result, score) in last.iter().zip(rest) {
        *score = (result / divisor) as f32;
    }
}
