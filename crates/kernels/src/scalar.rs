//! Numbers one by one: how they widen, and the keys that order like scores.

/// The key of units that are removed already: it ranks below all, and no score has it.
pub(crate) const REMOVED: i32 = i32::MIN;

/// The key of scores that are infinite or not a number; those of all others are smaller.
pub const INFINITY_KEY: i32 = f32::INFINITY.to_bits() as i32;

/// A whole number that orders like the score; -0 and +0 are one. What is not a number has the key of infinity whatever its
/// sign, which is up to the machine: so the highest key tells of both.
pub(crate) fn key_of(score: f32) -> i32 {
    let bits = (if score < f32::INFINITY { score + 0.0 } else { f32::INFINITY }).to_bits() as i32;
    // The bits of negative numbers grow with their size.
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The score that has this key, which is not [`REMOVED`].
pub(crate) fn score_of(key: i32) -> f32 {
    f32::from_bits((key ^ ((key >> 31) as u32 >> 1) as i32) as u32)
}

pub(crate) fn widen_bfloat16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Exact, without branches: the exponent is moved by a multiplication, which also normalises subnormal numbers.
pub(crate) fn widen_float16(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    // 2^112 is the distance between the exponent biases 127 and 15.
    let value = (f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23)).to_bits();
    let infinite_or_nan = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(value | sign | infinite_or_nan)
}

/// The nearest number of the type, the even one of two; larger numbers become infinite.
pub(crate) fn narrow_bfloat16(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The nearest number of the type, the even one of two; larger numbers become infinite.
pub(crate) fn narrow_float16(number: f32) -> u16 {
    let sign = (number.to_bits() >> 16) as u16 & 0x8000;
    let bits = number.to_bits() & 0x7fff_ffff;
    if number.is_nan() {
        return sign | 0x7e00;
    }
    // From 65520 on.
    if bits >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    // Below the least normal number the distance between neighbours is 2^-24: an addition rounds to it.
    if bits < 0x3880_0000 {
        return sign | ((f32::from_bits(bits) + 0.5).to_bits() - 0.5f32.to_bits()) as u16;
    }
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_order_like_scores(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(key_of(a).cmp(&key_of(b)), a.partial_cmp(&b).unwrap());
            prop_assert!(key_of(a) > REMOVED);
            prop_assert_eq!(score_of(key_of(a)), a);
        }

        #[test]
        fn what_is_not_a_number_has_the_key_of_infinity(payload in 1u32..1 << 23, sign in 0u32..2) {
            let nan = f32::from_bits(sign << 31 | 0x7f80_0000 | payload);
            prop_assert_eq!(key_of(nan), key_of(f32::INFINITY));
        }
    }

    /// By the definition of the format.
    fn naive_float16(bits: u16) -> f64 {
        let (exponent, fraction) = ((bits >> 10) & 31, f64::from(bits & 1023));
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + fraction) * 2f64.powi(i32::from(exponent) - 25),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    #[test]
    fn every_float16_widens_exactly() {
        for bits in 0..=u16::MAX {
            let (got, expected) = (f64::from(widen_float16(bits)), naive_float16(bits));
            assert!(got == expected || (got.is_nan() && expected.is_nan()), "{bits:#06x}: {got} is not {expected}");
            assert_eq!(got.is_sign_negative(), bits >> 15 == 1);
        }
    }

    proptest! {
        #[test]
        fn narrowing_gives_the_nearest_number(any in any::<f32>(), exponent in 96i32..144) {
            let near = f32::from_bits(any.to_bits() & 0x807f_ffff | (exponent as u32) << 23);
            for number in [any, near] {
                for is_half in [false, true] {
                    let widen = if is_half { widen_float16 } else { widen_bfloat16 };
                    let found = if is_half { narrow_float16(number) } else { narrow_bfloat16(number) };
                    let (value, exact) = (f64::from(widen(found)), f64::from(number));
                    if number.is_nan() {
                        prop_assert!(value.is_nan());
                        continue;
                    }
                    prop_assert_eq!(value.is_sign_negative(), number.is_sign_negative());
                    let infinity = (0..=u16::MAX).find(|bits| widen(*bits) == f32::INFINITY).unwrap();
                    let greatest = f64::from(widen(infinity - 1));
                    // Halfway to what would follow the greatest number.
                    let limit = greatest + (greatest - f64::from(widen(infinity - 2))) / 2.0;
                    if exact.abs() >= limit {
                        prop_assert!(value.is_infinite());
                        continue;
                    }
                    let magnitude = found & 0x7fff;
                    for other in [magnitude.saturating_sub(1), (magnitude + 1).min(infinity - 1)] {
                        let [own, further] = [value.abs(), f64::from(widen(other))].map(|near| (near - exact.abs()).abs());
                        prop_assert!(own < further || other == magnitude || (own == further && magnitude % 2 == 0));
                    }
                }
            }
        }
    }

    #[test]
    fn bfloat16_is_the_upper_half_of_a_float32() {
        for value in [0.0f32, -0.0, 1.0, -1.5, 3.0e38, 1.0e-40, f32::INFINITY] {
            let upper = value.to_bits() >> 16;
            assert_eq!(widen_bfloat16(upper as u16).to_bits(), upper << 16);
        }
    }
}
