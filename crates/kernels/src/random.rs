//! Scores drawn by chance: a pure function of seed, layer and unit, so that a mask can be drawn again anywhere.

use crate::axes::Axes;
use crate::error::Error;
use crate::tasks::for_chunks;

/// Writes one draw from [0, 1) per unit, in stored order of the units.
///
/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) keyed by `seed` and `layer`; the
/// counter is the canonical unit number, the value the upper 24 bits of the first word.
pub fn random(seed: u32, layer: u32, axes: &Axes, scores: &mut [f32]) -> Result<(), Error> {
    if scores.len() != axes.units() {
        return Err(Error::Request("random: one score per unit"));
    }
    const TASK: usize = 1 << 14;
    for_chunks(scores, TASK, &|task, scores| {
        for (score, canonical) in scores.iter_mut().zip(axes.walk_canonical_units(task * TASK)) {
            let canonical = canonical as u64;
            let [word, ..] = philox([canonical as u32, (canonical >> 32) as u32, 0, 0], [seed, layer]);
            *score = (word >> 8) as f32 * (1.0 / (1 << 24) as f32);
        }
    });
    Ok(())
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        let first = 0xd251_1f53 * u64::from(counter[0]);
        let second = 0xcd9e_8d57 * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;

    /// The known answers that the authors publish with Random123 (`kat_vectors`).
    #[test]
    fn philox_gives_its_authors_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_transposed_tensor_draws_the_same_numbers() {
        let axis = |size, order| Axis::kept(size, order);
        let (mut stored, mut transposed) = ([0.0; 15], [0.0; 15]);
        random(7, 1, &Axes::new(&[axis(3, 0), axis(5, 1)]).unwrap(), &mut stored).unwrap();
        random(7, 1, &Axes::new(&[axis(5, 1), axis(3, 0)]).unwrap(), &mut transposed).unwrap();
        for (unit, score) in stored.iter().enumerate() {
            assert_eq!(*score, transposed[unit % 5 * 3 + unit / 5]);
            assert!((0.0..1.0).contains(score));
        }
        assert_ne!(stored[0], stored[1]);
    }
}
