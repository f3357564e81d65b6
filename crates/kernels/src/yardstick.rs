//! What benchmarks measure the kernels against: memory read and written once, in the same chunks on the same threads.

use crate::tasks::for_chunks;

const TASK: usize = 1 << 16;

/// Multiplies each number by `factor`, in place.
pub fn pass(numbers: &mut [[u8; 4]], factor: f32) {
    for_chunks(numbers, TASK, &|_, numbers| {
        for number in numbers {
            *number = (f32::from_le_bytes(*number) * factor).to_le_bytes();
        }
    });
}
