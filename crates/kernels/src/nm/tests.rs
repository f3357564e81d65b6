use super::*;
use crate::axes::{Axes, Axis};
use crate::bits::is_kept;
use crate::elements::{Element, Elements};
use crate::numbers::Numbers;
use crate::scalar::key_of;
use proptest::prelude::*;

/// By definition: sorts each group.
fn naive(scores: &[f32], pattern: Pattern, earlier: Option<&[u32]>) -> Vec<bool> {
    let Pattern { keep, of, size, stride } = pattern;
    let mut kept: Vec<bool> = (0..scores.len()).map(|unit| earlier.is_none_or(|mask| is_kept(mask, unit))).collect();
    for first in
        (0..scores.len()).filter(|unit| unit / stride % size < size / of * of && unit / stride % size % of == 0)
    {
        let mut group: Vec<usize> = (0..of).map(|place| first + place * stride).filter(|&unit| kept[unit]).collect();
        group.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(b.cmp(&a)));
        group.iter().skip(keep).for_each(|&unit| kept[unit] = false);
    }
    kept
}

fn check(scores: &[f32], pattern: Pattern, earlier: Option<&[u32]>) {
    let axes = Axes::new(&[Axis::kept(scores.len(), 0)]).unwrap();
    let bytes: Vec<[u8; 4]> = scores.iter().map(|score| score.to_le_bytes()).collect();
    let scores_read = Elements::new(Numbers::Float32(&bytes), Element::Itself, None).unwrap();
    let segment = Segment { scores: scores_read, axes: &axes, earlier, group: 0, limit: 0 };
    let mut bits = vec![0; words_for(scores.len())];
    let highest = nm(&segment, pattern, &mut bits).unwrap();
    assert_eq!(Some(highest), scores.iter().map(|&score| key_of(score)).max());
    let kept: Vec<bool> = (0..scores.len()).map(|unit| is_kept(&bits, unit)).collect();
    assert_eq!(kept, naive(scores, pattern, earlier), "{pattern:?}");
}

proptest! {
    #[test]
    fn any_pattern_agrees_with_sorting(
        (of, keep) in (1usize..9).prop_flat_map(|of| (Just(of), 1..=of)),
        (lines, size, stride) in (1usize..5, 1usize..40, prop_oneof![1usize..20, 60usize..70]),
        seed in any::<u32>(),
        words in proptest::option::of(proptest::collection::vec(any::<u32>(), 400)),
    ) {
        let scores: Vec<f32> = (0..lines * size * stride)
            .map(|unit| ((unit as u32 ^ seed).wrapping_mul(2_654_435_761) >> 28) as f32)
            .collect();
        let mask = words.map(|mut words| {
            words.truncate(words_for(scores.len()));
            let unused = words_for(scores.len()) * 32 - scores.len();
            *words.last_mut().unwrap() |= u32::MAX.checked_shl(32 - unused as u32).unwrap_or(0);
            words
        });
        check(&scores, Pattern { keep, of, size, stride }, mask.as_deref());
    }
}

#[test]
fn batches_of_every_shape_agree_with_sorting() {
    for (keep, of) in [(2, 4), (1, 2), (4, 8), (1, 16), (3, 5), (100, 256)] {
        for stride in [1, 9, ROW - 1, ROW, ROW + 1, BATCH / of - 1, BATCH / of + 1] {
            for size in [of - 1, of, 3 * of, 3 * of + 1] {
                let scores: Vec<f32> =
                    (0..2 * size * stride).map(|unit| (unit * 7919 % 10_007) as f32 - 5000.0).collect();
                check(&scores, Pattern { keep, of, size, stride }, None);
            }
        }
    }
}

#[test]
fn patterns_that_do_not_fit_are_refused() {
    let axes = Axes::new(&[Axis::kept(8, 0)]).unwrap();
    let scores = Elements::new(Numbers::Float32(&[[0; 4]; 8]), Element::Itself, None).unwrap();
    let segment = Segment { scores, axes: &axes, earlier: None, group: 0, limit: 0 };
    let good = Pattern { keep: 2, of: 4, size: 4, stride: 2 };
    assert!(nm(&segment, good, &mut [0]).is_ok());
    assert!(nm(&segment, good, &mut []).is_err());
    for bad in [
        Pattern { keep: 0, ..good },
        Pattern { keep: 5, ..good },
        Pattern { keep: 1, of: MAX_PATTERN + 1, ..good },
        Pattern { size: 3, ..good },
        Pattern { stride: 0, ..good },
        Pattern { size: usize::MAX, ..good },
    ] {
        assert!(nm(&segment, bad, &mut [0]).is_err(), "{bad:?}");
    }
}
