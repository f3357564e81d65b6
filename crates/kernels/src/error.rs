/// Why a kernel refused a request. Nothing was written when one of these comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Working memory of that many bytes could not be had.
    Memory { bytes: usize },
    /// The parts of the request contradict each other; always a caller's mistake.
    Request(&'static str),
}

/// Takes an empty vector with room for `length` items, or says how much was missing.
pub(crate) fn reserve<T>(length: usize) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    match items.try_reserve_exact(length) {
        Ok(()) => Ok(items),
        Err(_) => Err(Error::Memory { bytes: length.saturating_mul(size_of::<T>()) }),
    }
}
