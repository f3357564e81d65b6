use super::*;
use crate::scalar::{key_of, widen_bfloat16, widen_float16};
use proptest::prelude::*;
use std::array::from_fn;

/// Any bits, often equal ones, and those of zeros, infinities and what is not a number.
fn any_word() -> impl Strategy<Value = i32> {
    let special =
        [0, i32::MIN, i32::MAX, -1, 1, 0x7f80_0000, 0xff80_0000u32 as i32, 0x7fc0_0001, 0xffa0_0000u32 as i32];
    prop_oneof![any::<i32>(), -2..3, proptest::sample::select(special.to_vec())]
}

fn any_words() -> impl Strategy<Value = [i32; LANES]> {
    proptest::array::uniform4(any_word())
}

fn any_halves() -> impl Strategy<Value = [i16; HALVES]> {
    proptest::array::uniform8(prop_oneof![any::<i16>(), -2i16..3, Just(i16::MIN), Just(i16::MAX)])
}

/// Registers of comparisons, of which these hold.
fn comparisons(holds: [bool; 16]) -> [Lanes; 4] {
    from_fn(|register| Lanes::read(&from_fn(|lane| -i32::from(holds[LANES * register + lane]))))
}

/// A bit for each that holds.
fn bits_by_definition(holds: &[bool]) -> u32 {
    holds.iter().enumerate().map(|(place, &holds)| u32::from(holds) << place).sum()
}

/// Both have the same operations, of numbers of another size.
macro_rules! check_register {
    ($a:expr, $b:expr, $register:ty, $number:ty, $count:expr) => {
        let (a, b): ([$number; $count], [$number; $count]) = ($a, $b);
        let load = |numbers: [$number; $count]| <$register>::load(&numbers.map(<$number>::to_le_bytes));
        let each =
            |formula: fn($number, $number) -> $number| from_fn::<$number, $count, _>(|lane| formula(a[lane], b[lane]));
        prop_assert_eq!(load(a).to_array(), a);
        prop_assert_eq!(<$register>::splat(a[0]).to_array(), [a[0]; $count]);
        prop_assert_eq!(load(a).without(load(b)).to_array(), each(|a, b| a & !b));
        prop_assert_eq!(load(a).or(load(b)).to_array(), each(|a, b| a | b));
        prop_assert_eq!(load(a).add(load(b)).to_array(), each(<$number>::wrapping_add));
        prop_assert_eq!(load(a).is_less(load(b)).to_array(), each(|a, b| if a < b { -1 } else { 0 }));
        prop_assert_eq!(load(a).is_equal(load(b)).to_array(), each(|a, b| if a == b { -1 } else { 0 }));
        let mut stored = [Default::default(); $count];
        load(a).store(&mut stored);
        prop_assert_eq!(stored, a.map(<$number>::to_le_bytes));
    };
}

proptest! {
    #[test]
    fn registers_do_to_each_lane_what_is_done_to_one_number(
        (a, b) in (any_words(), any_words()),
        (c, d) in (any_halves(), any_halves()),
    ) {
        check_register!(a, b, Lanes, i32, LANES);
        check_register!(c, d, Halves, i16, HALVES);
    }

    #[test]
    fn numbers_of_32_bits_follow_their_definitions(a in any_words(), b in any_words()) {
        let (first, second) = (Lanes::read(&a), Lanes::read(&b));
        prop_assert_eq!(first.and(second).to_array(), from_fn(|lane| a[lane] & b[lane]));
        prop_assert_eq!(first.max(second).to_array(), from_fn(|lane| a[lane].max(b[lane])));
        prop_assert_eq!(first.keys_of_scores().to_array(), a.map(|bits| key_of(f32::from_bits(bits as u32))));
        prop_assert_eq!(first.highest(), *a.iter().max().unwrap());
        let mut floats = [0.0; LANES];
        first.write_floats(&mut floats);
        prop_assert_eq!(floats.map(f32::to_bits), a.map(|bits| bits as u32));
        let registers = [first, second, first.max(second), first.and(second)];
        let rows = registers.map(Lanes::to_array);
        let columns = Lanes::transposed(registers).map(Lanes::to_array);
        prop_assert_eq!(columns, from_fn(|row| from_fn(|lane| rows[lane][row])));
    }

    #[test]
    fn numbers_of_16_bits_are_widened_as_one_by_one(halves in proptest::array::uniform4(any::<u16>())) {
        let loaded = Lanes::load_halves(&halves.map(u16::to_le_bytes));
        prop_assert_eq!(loaded.to_array(), halves.map(i32::from));
        prop_assert_eq!(loaded.signs_of_halves().to_array(), halves.map(|half| i32::from(half & 0x8000) << 16));
        let magnitudes = |widen: fn(u16) -> f32| halves.map(|half| widen(half & 0x7fff).to_bits() as i32);
        prop_assert_eq!(loaded.magnitudes_of_float16().to_array(), magnitudes(widen_float16));
        prop_assert_eq!(loaded.magnitudes_of_bfloat16().to_array(), magnitudes(widen_bfloat16));
        let eight = from_fn(|lane| halves[lane % 4].cast_signed());
        let magnitudes = Halves::load(&eight.map(i16::to_le_bytes)).magnitudes();
        prop_assert_eq!(magnitudes.to_array(), eight.map(|half| half & i16::MAX));
    }

    #[test]
    fn comparisons_become_bits_bytes_and_counts(holds in any::<[bool; 16]>(), byte in any::<u8>()) {
        let comparisons = comparisons(holds);
        let bytes = holds.map(|holds| if holds { 255 } else { 0 });
        prop_assert_eq!(Lanes::bits(comparisons), bits_by_definition(&holds));
        prop_assert_eq!(Lanes::bytes(comparisons), bytes);
        prop_assert_eq!(Lanes::bytes_of_each(comparisons).concat(), bytes);
        let sum = comparisons.into_iter().fold(Lanes::splat(0), Lanes::add);
        prop_assert_eq!(sum.count() as usize, holds.iter().filter(|holds| **holds).count());

        let half = |first: usize| Halves::load(&from_fn(|lane| (-i16::from(holds[first + lane])).to_le_bytes()));
        prop_assert_eq!(Halves::bits(half(0), half(HALVES)), bits_by_definition(&holds));
        let sum = half(0).add(half(HALVES));
        prop_assert_eq!(sum.count() as usize, holds.iter().filter(|holds| **holds).count());
        prop_assert_eq!(Halves::without_bit(byte).to_array(), from_fn(|lane| if byte >> lane & 1 == 0 { -1 } else { 0 }));
    }

    #[test]
    fn the_highest_bit_of_each_byte_is_taken(bytes in any::<[u8; 32]>()) {
        prop_assert_eq!(bits_of(&bytes), bits_by_definition(&bytes.map(|byte| byte >= 128)));
    }

    #[test]
    fn sums_are_taken_in_their_order(
        (width, height) in (1usize..20, 1usize..40),
        seed in any::<u32>(),
        divisor in 1f64..100.0,
    ) {
        // Of many scales, so that sums tell in which order they were taken.
        let number = |place: usize| {
            let bits = (place as u32 ^ seed).wrapping_mul(2_654_435_761);
            (bits as i32 as f32 * 2f32.powi((bits % 64) as i32 - 32)).to_le_bytes()
        };
        let rows: Vec<Vec<[u8; 4]>> =
            (0..height).map(|row| (0..width).map(|column| number(row * width + column)).collect()).collect();
        let magnitude = |row: &[[u8; 4]], column: usize| f64::from(f32::from_le_bytes(row[column]).abs());
        let tree = |[a, b, c, d, e, f, g, h]: [f64; SUMS]| ((a + e) + (c + g)) + ((b + f) + (d + h));
        let by_definition = |column: usize| {
            tree(from_fn(|sum| rows.iter().skip(sum).step_by(SUMS).fold(0.0, |sum, row| sum + magnitude(row, column))))
        };
        let expected: Vec<f64> = (0..width).map(by_definition).collect();

        let lines: Vec<&[[u8; 4]]> = rows.iter().map(Vec::as_slice).collect();
        let mut sums = vec![f64::NAN; width];
        sum_magnitudes(&lines, &mut sums);
        prop_assert_eq!(&sums, &expected);

        let mut scores = vec![f32::NAN; width];
        quotients(&sums, divisor, &mut scores);
        prop_assert_eq!(&scores, &expected.iter().map(|sum| (sum / divisor) as f32).collect::<Vec<_>>());

        let start = sums.clone();
        add_magnitudes(&mut sums, false, [&rows[0], &rows[height - 1]]);
        let added = |from: f64, column: usize| from + magnitude(&rows[0], column) + magnitude(&rows[height - 1], column);
        prop_assert_eq!(&sums, &(0..width).map(|column| added(start[column], column)).collect::<Vec<_>>());
        add_magnitudes(&mut sums, true, [&rows[0], &rows[height - 1]]);
        prop_assert_eq!(sums, (0..width).map(|column| added(0.0, column)).collect::<Vec<_>>());

        let column: Vec<[u8; 4]> = (0..9).map(|row| rows[row % height][0]).collect();
        let mut nine = Sums::default();
        nine.add_magnitudes(column.first_chunk().unwrap());
        nine.add_to_first(column[8]);
        let own: [f64; SUMS] = from_fn(|sum| magnitude(&column, sum) + if sum == 0 { magnitude(&column, 8) } else { 0.0 });
        prop_assert_eq!(nine.sum(), tree(own));
    }
}
