//! The numbers that a mask removes, taken out before they become zero and put back when they are wanted again.

use crate::axes::{Axes, Line};
use crate::bits::{is_kept, words_for};
use crate::error::Error;
use crate::numbers::{Numbers, NumbersMut};

const MISMATCH: Error = Error::Request("save: the mask or the saved numbers do not describe the numbers");

/// Copies the numbers of removed units, in stored order, to the front of `saved`, and says how many these are.
pub fn save(numbers: Numbers, axes: &Axes, mask: &[u32], saved: NumbersMut) -> Result<usize, Error> {
    match (numbers, saved) {
        (Numbers::Float32(numbers), NumbersMut::Float32(saved)) => {
            each_removed(numbers.len(), axes, mask, saved.len(), &mut |place, index| saved[place] = numbers[index])
        }
        (Numbers::Float16(numbers), NumbersMut::Float16(saved))
        | (Numbers::Bfloat16(numbers), NumbersMut::Bfloat16(saved)) => {
            each_removed(numbers.len(), axes, mask, saved.len(), &mut |place, index| saved[place] = numbers[index])
        }
        _ => Err(MISMATCH),
    }
}

/// Puts back what [`save`] copied with the same mask.
pub fn restore(numbers: NumbersMut, axes: &Axes, mask: &[u32], saved: Numbers) -> Result<(), Error> {
    let restored = match (numbers, saved) {
        (NumbersMut::Float32(numbers), Numbers::Float32(saved)) => {
            each_removed(numbers.len(), axes, mask, saved.len(), &mut |place, index| numbers[index] = saved[place])
        }
        (NumbersMut::Float16(numbers), Numbers::Float16(saved))
        | (NumbersMut::Bfloat16(numbers), Numbers::Bfloat16(saved)) => {
            each_removed(numbers.len(), axes, mask, saved.len(), &mut |place, index| numbers[index] = saved[place])
        }
        _ => Err(MISMATCH),
    }?;
    if restored == saved.len() { Ok(()) } else { Err(MISMATCH) }
}

/// Calls `act` with the place among removed numbers and the stored position of each; an error before the unit that has no room.
fn each_removed(
    numbers: usize,
    axes: &Axes,
    mask: &[u32],
    room: usize,
    act: &mut dyn FnMut(usize, usize),
) -> Result<usize, Error> {
    if numbers != axes.weights() || mask.len() != words_for(axes.units()) {
        return Err(MISMATCH);
    }
    let (mut place, mut index) = (0, 0);
    for (unit, count) in axes.lines(0..numbers).flat_map(Line::units) {
        if !is_kept(mask, unit) {
            if place + count > room {
                return Err(MISMATCH);
            }
            for offset in 0..count {
                act(place + offset, index + offset);
            }
            place += count;
        }
        index += count;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::tests::{any_axes, naive_places};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_numbers_of_removed_units_are_saved_and_come_back(list in any_axes(), words in proptest::collection::vec(any::<u32>(), 3700)) {
            let axes = Axes::new(&list).unwrap();
            let mask = &words[..words_for(axes.units())];
            let numbers: Vec<[u8; 4]> = (0..axes.weights() as u32).map(u32::to_le_bytes).collect();
            let removed: Vec<usize> = naive_places(&list).into_iter().enumerate()
                .filter(|(_, (unit, ..))| !is_kept(mask, *unit)).map(|(position, _)| position).collect();
            let mut saved = vec![[255; 4]; removed.len() + 1];
            prop_assert_eq!(save(Numbers::Float32(&numbers), &axes, mask, NumbersMut::Float32(&mut saved)), Ok(removed.len()));
            prop_assert_eq!(saved.pop(), Some([255; 4]));
            prop_assert_eq!(&saved, &removed.iter().map(|&position| numbers[position]).collect::<Vec<_>>());

            let mut target = vec![[0; 4]; numbers.len()];
            restore(NumbersMut::Float32(&mut target), &axes, mask, Numbers::Float32(&saved)).unwrap();
            for (position, number) in target.into_iter().enumerate() {
                prop_assert_eq!(number, if removed.contains(&position) { numbers[position] } else { [0; 4] });
            }
        }
    }

    #[test]
    fn saved_numbers_of_another_length_or_type_are_refused() {
        use crate::axes::Axis;
        let axes = Axes::new(&[Axis::kept(4, 0)]).unwrap();
        let numbers = [[1u8; 2]; 4];
        let mut room = [[0u8; 2]; 3];
        assert!(save(Numbers::Float16(&numbers), &axes, &[0b0001], NumbersMut::Float16(&mut room)).is_ok());
        assert!(save(Numbers::Float16(&numbers), &axes, &[0b0000], NumbersMut::Float16(&mut room)).is_err());
        assert!(save(Numbers::Float16(&numbers), &axes, &[0b0001], NumbersMut::Bfloat16(&mut room)).is_err());
        let mut target = numbers;
        assert!(restore(NumbersMut::Float16(&mut target), &axes, &[0b0011], Numbers::Float16(&room)).is_err());
        assert!(restore(NumbersMut::Float16(&mut target), &axes, &[], Numbers::Float16(&room)).is_err());
    }
}
