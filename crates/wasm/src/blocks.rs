//! The blocks of memory that the caller has. Whatever it asks for has to lie in one of them, so that no request can write
//! to what the allocator and the threads need.

use std::alloc::{Layout, alloc, dealloc};
use std::sync::{PoisonError, RwLock};

use sparsifier_kernels::Error;

/// Blocks begin at multiples of this.
const ALIGNMENT: usize = 16;

/// Where each block begins, and how many bytes it has; in order.
static BLOCKS: RwLock<Vec<(usize, usize)>> = RwLock::new(Vec::new());

/// The address of `bytes` bytes, or 0 where memory has no room for them. They are not zeroed, which would take as long as
/// a pass over them.
pub fn allocate(bytes: usize) -> usize {
    let mut blocks = BLOCKS.write().unwrap_or_else(PoisonError::into_inner);
    let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGNMENT) else { return 0 };
    if blocks.try_reserve(1).is_err() {
        return 0;
    }
    // SAFETY: the size is not zero.
    let address = unsafe { alloc(layout) } as usize;
    if address != 0 {
        let place = blocks.partition_point(|&(other, _)| other < address);
        blocks.insert(place, (address, bytes));
    }
    address
}

/// Gives a block back. Does nothing for what is none.
pub fn release(address: usize, bytes: usize) {
    let mut blocks = BLOCKS.write().unwrap_or_else(PoisonError::into_inner);
    let Ok(place) = blocks.binary_search(&(address, bytes)) else { return };
    blocks.remove(place);
    if let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGNMENT) {
        // SAFETY: `allocate` gave this address for a block of this size, which is given back once, since it is not among
        // the blocks any more.
        unsafe { dealloc(address as *mut u8, layout) }
    }
}

/// Refuses a range that is not wholly in a block, or not aligned.
pub fn check_range(address: usize, count: usize, size: usize, alignment: usize) -> Result<(), Error> {
    let blocks = BLOCKS.read().unwrap_or_else(PoisonError::into_inner);
    let after = blocks.partition_point(|&(first, _)| first <= address);
    let fits = after.checked_sub(1).is_some_and(|place| {
        let (first, bytes) = blocks[place];
        count.checked_mul(size).is_some_and(|asked| asked <= bytes && address - first <= bytes - asked)
    });
    let is_aligned = address.is_multiple_of(alignment);
    if fits && is_aligned { Ok(()) } else { Err(Error::Request("a range is not in a block of memory")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_in_one_block_that_was_not_given_back() {
        let (first, second) = (allocate(24), allocate(40));
        assert!(first != 0 && second != 0);
        for (address, count, fits) in [
            (first, 6, true),
            (first + 8, 4, true),
            (first + 24, 0, true),
            (first, 7, false),
            (first + 8, 5, false),
            (first + 2, 1, false),
            (second, 10, true),
            (second, 11, false),
            (second + 44, 0, false),
            (second, usize::MAX, false),
            (second, usize::MAX / 4 + 2, false),
            (0, 0, false),
            (usize::MAX - 3, 1, false),
        ] {
            assert_eq!(check_range(address, count, 4, 4).is_ok(), fits, "{count} words at {address}");
        }
        release(first, 23);
        release(first + 4, 20);
        assert!(check_range(first, 6, 4, 4).is_ok());
        release(first, 24);
        assert!(check_range(first, 0, 4, 4).is_err());
        release(first, 24);
        assert!(check_range(second, 10, 4, 4).is_ok());
        release(second, 40);
        assert!(check_range(second, 1, 4, 4).is_err());
    }

    #[test]
    fn more_than_memory_has_is_no_block() {
        assert_eq!(allocate(usize::MAX), 0);
    }
}
