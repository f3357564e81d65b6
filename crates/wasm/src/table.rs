//! Records of a table, read and checked.

use std::sync::atomic::AtomicUsize;

use sparsifier_kernels::{
    Axes, Axis, ChannelStep, Cut, Element, Elements, Error, Findings, MAX_AXES, Normalizer, Numbers, NumbersMut, Other,
    Pattern, Reducer, Removal, Segment, words_for,
};

/// Words of a record.
pub const WORDS: usize = 60;

const WEIGHTS: usize = 0;
const DATA_TYPE: usize = 1;
const AXES: usize = 2;
const SIZES: usize = 3;
const ORDERS: usize = SIZES + MAX_AXES;
const BLOCKS: usize = ORDERS + MAX_AXES;
const ELEMENT: usize = BLOCKS + MAX_AXES;
const REDUCER: usize = 28;
const NORMALIZER: usize = 29;
const SEED: usize = 30;
const LAYER: usize = 31;
const SCORES: usize = 32;
const EARLIER: usize = 33;
const MASK: usize = 34;
const GROUP: usize = 35;
const LIMIT: usize = 36;
const REMOVED: usize = 37;
const KEY: usize = 38;
const BOUND: usize = 39;
const SETTLED: usize = 40;
const ZEROS: usize = 41;
const FIRST_NOT_FINITE: usize = 42;

const OTHER: usize = 43;
const OTHER_TYPE: usize = 44;
const OTHER_LENGTH: usize = 45;
const CHANNEL_STEPS: usize = 46;

const KEEP: usize = 52;
const OF: usize = 53;
const ALONG: usize = 54;
const SAVED: usize = 55;
const SAVED_LENGTH: usize = 56;
const HIGHEST: usize = 57;

/// In an element word: a draw per unit.
const RANDOM: u32 = 255;
/// In the word of the first number that is not finite: there is none.
const NONE: u32 = u32::MAX;

/// How a record's units are scored.
pub enum Recipe {
    Random { seed: u32, layer: u32 },
    Weights { element: Element, reducer: Reducer, normalizer: Option<Normalizer> },
}

/// The record of one tensor.
pub struct Record<'a> {
    words: &'a mut [u32; WORDS],
}

/// The records of a table.
pub fn records<'a>(table: usize, count: usize) -> Result<Vec<Record<'a>>, Error> {
    check_range(table, count, size_of::<[u32; WORDS]>(), align_of::<u32>())?;
    let mut list = crate::list(count)?;
    if count > 0 {
        // SAFETY: the range lies in memory and is aligned (checked); the caller promises that it wrote the table there,
        // lends it for this call alone, and that no tensor, score or mask overlaps it.
        let table = unsafe { std::slice::from_raw_parts_mut(table as *mut [u32; WORDS], count) };
        list.extend(table.iter_mut().map(|words| Record { words }));
    }
    Ok(list)
}

/// `count` words to read.
pub fn words<'a>(address: usize, count: usize) -> Result<&'a [u32], Error> {
    check_range(address, count, size_of::<u32>(), align_of::<u32>())?;
    // SAFETY: the range lies in memory and is aligned (checked); the caller promises that nothing writes there meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(address as *const u32, count) })
}

/// `count` words to write.
pub fn words_mut<'a>(address: usize, count: usize) -> Result<&'a mut [u32], Error> {
    check_range(address, count, size_of::<u32>(), align_of::<u32>())?;
    // SAFETY: the range lies in memory and is aligned (checked); the caller promises a block of its own for these words.
    Ok(unsafe { std::slice::from_raw_parts_mut(address as *mut u32, count) })
}

/// Room for `count` scores.
pub fn scores_mut<'a>(address: usize, count: usize) -> Result<&'a mut [f32], Error> {
    check_range(address, count, size_of::<f32>(), align_of::<f32>())?;
    // SAFETY: the range lies in memory and is aligned (checked); the caller promises a block of its own for these scores.
    Ok(unsafe { std::slice::from_raw_parts_mut(address as *mut f32, count) })
}

/// Numbers of a data type, anywhere in memory.
fn numbers<'a>(address: usize, count: usize, data_type: u32) -> Result<Numbers<'a>, Error> {
    check_range(address, count, bytes_of(data_type)?, 1)?;
    // SAFETY (all three): the range lies in memory (checked) and byte arrays have no alignment; the caller promises that
    // the numbers are there and that nothing writes to them during the call.
    Ok(match data_type {
        // SAFETY: as above.
        0 => Numbers::Float32(unsafe { std::slice::from_raw_parts(address as *const [u8; 4], count) }),
        // SAFETY: as above.
        1 => Numbers::Float16(unsafe { std::slice::from_raw_parts(address as *const [u8; 2], count) }),
        // SAFETY: as above.
        _ => Numbers::Bfloat16(unsafe { std::slice::from_raw_parts(address as *const [u8; 2], count) }),
    })
}

/// Numbers of a data type to change, anywhere in memory.
fn numbers_mut<'a>(address: usize, count: usize, data_type: u32) -> Result<NumbersMut<'a>, Error> {
    check_range(address, count, bytes_of(data_type)?, 1)?;
    // SAFETY (all three): as in `numbers`; records that may share numbers are changed one after another (`run`), those of
    // `remove` share none, and the caller promises that a record's tensor overlaps neither its mask nor saved numbers, so
    // this is the only view of the range while it lives.
    Ok(match data_type {
        // SAFETY: as above.
        0 => NumbersMut::Float32(unsafe { std::slice::from_raw_parts_mut(address as *mut [u8; 4], count) }),
        // SAFETY: as above.
        1 => NumbersMut::Float16(unsafe { std::slice::from_raw_parts_mut(address as *mut [u8; 2], count) }),
        // SAFETY: as above.
        _ => NumbersMut::Bfloat16(unsafe { std::slice::from_raw_parts_mut(address as *mut [u8; 2], count) }),
    })
}

fn bytes_of(data_type: u32) -> Result<usize, Error> {
    match data_type {
        0 => Ok(4),
        1 | 2 => Ok(2),
        _ => Err(Error::Request("unknown data type")),
    }
}

/// Refuses a range that is not wholly in memory or not aligned.
fn check_range(address: usize, count: usize, size: usize, alignment: usize) -> Result<(), Error> {
    let end = count.checked_mul(size).and_then(|bytes| bytes.checked_add(address));
    let fits = address != 0 && address.is_multiple_of(alignment) && end.is_some_and(|end| end as u64 <= memory_bytes());
    if fits { Ok(()) } else { Err(Error::Request("a range is not in memory")) }
}

#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> u64 {
    core::arch::wasm32::memory_size(0) as u64 * 65536
}

#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> u64 {
    u64::MAX
}

impl<'a> Record<'a> {
    fn word(&self, index: usize) -> usize {
        self.words[index] as usize
    }

    pub fn axes(&self) -> Result<Axes, Error> {
        let count = self.word(AXES);
        if count > MAX_AXES {
            return Err(Error::Request("more axes than a record holds"));
        }
        let mut axes = [Axis::default(); MAX_AXES];
        for (i, axis) in axes[..count].iter_mut().enumerate() {
            let order = self.words[ORDERS + i] as u8;
            *axis = Axis { size: self.word(SIZES + i), block: self.word(BLOCKS + i), order };
        }
        Axes::new(&axes[..count])
    }

    /// The weights, anywhere in memory.
    pub fn numbers(&self) -> Result<Numbers<'a>, Error> {
        numbers(self.word(WEIGHTS), self.axes()?.weights(), self.words[DATA_TYPE])
    }

    /// What the weights are compared with: one number for each, or one for each input channel where steps are given.
    fn other(&self) -> Result<Option<Other<'a>>, Error> {
        if self.words[OTHER] == 0 {
            return Ok(None);
        }
        let numbers = numbers(self.word(OTHER), self.word(OTHER_LENGTH), self.words[OTHER_TYPE])?;
        let step = |place: usize| {
            let [stride, size, factor] = std::array::from_fn(|i| self.word(CHANNEL_STEPS + 3 * place + i));
            ChannelStep { stride, size, factor }
        };
        let steps = [step(0), step(1)];
        Ok(Some(if steps[0].stride == 0 { Other::Each(numbers) } else { Other::Channels { numbers, steps } }))
    }

    pub fn numbers_mut(&mut self) -> Result<NumbersMut<'a>, Error> {
        numbers_mut(self.word(WEIGHTS), self.axes()?.weights(), self.words[DATA_TYPE])
    }

    pub fn elements(&self, element: Element) -> Result<Elements<'a>, Error> {
        Elements::new(self.numbers()?, element, self.other()?)
    }

    pub fn recipe(&self) -> Result<Recipe, Error> {
        let unknown = Err(Error::Request("unknown recipe"));
        let element = match self.words[ELEMENT] {
            1 => Element::Magnitude,
            2 => Element::Square,
            3 => Element::NegativeMagnitude,
            4 => Element::Other,
            5 => Element::OtherMagnitude,
            6 => Element::NegativeOtherMagnitude,
            7 => Element::SmallerMagnitude,
            8 => Element::NegativeLargerMagnitude,
            9 => Element::MagnitudeIncrease,
            10 => Element::Distance,
            11 => Element::WeightedDistance,
            12 => Element::SquaredProduct,
            13 => Element::ScaledMagnitude,
            RANDOM => return Ok(Recipe::Random { seed: self.words[SEED], layer: self.words[LAYER] }),
            _ => return unknown,
        };
        let reducer = match self.words[REDUCER] {
            0 => Reducer::Mean,
            1 => Reducer::Sum,
            2 => Reducer::L2,
            3 => Reducer::Max,
            _ => return unknown,
        };
        let normalizer = match self.words[NORMALIZER] {
            0 => None,
            1 => Some(Normalizer::Sum),
            2 => Some(Normalizer::Mean),
            3 => Some(Normalizer::Max),
            4 => Some(Normalizer::L2),
            5 => Some(Normalizer::MinMax),
            6 => Some(Normalizer::Standard),
            7 => Some(Normalizer::Lamp),
            _ => return unknown,
        };
        Ok(Recipe::Weights { element, reducer, normalizer })
    }

    /// What goes, where the units are weights that are scored by nothing else.
    pub fn removal(&mut self) -> Result<Option<Removal<'a>>, Error> {
        let Recipe::Weights { element, .. } = self.recipe()? else { return Ok(None) };
        if self.word(SCORES) != 0 || self.word(OTHER) != 0 {
            return Ok(None);
        }
        Ok(Some(Removal {
            numbers: self.numbers_mut()?,
            element,
            axes: self.axes()?,
            earlier: self.earlier()?,
            cut: self.cut(),
            bits: self.mask_mut()?,
            zeros: AtomicUsize::new(0),
        }))
    }

    /// Room for one score per unit, or none where the units are weights and are scored on the fly.
    pub fn scores_mut(&mut self) -> Result<Option<&'a mut [f32]>, Error> {
        let address = self.word(SCORES);
        if address == 0 {
            return Ok(None);
        }
        // A block of its own for each record's scores: the caller promises it, and records may be worked on side by side.
        scores_mut(address, self.axes()?.units()).map(Some)
    }

    fn bits(&self, index: usize) -> Result<&'a [u32], Error> {
        words(self.word(index), words_for(self.axes()?.units()))
    }

    /// The mask of an earlier call.
    pub fn earlier(&self) -> Result<Option<&'a [u32]>, Error> {
        if self.words[EARLIER] == 0 { Ok(None) } else { self.bits(EARLIER).map(Some) }
    }

    pub fn mask(&self) -> Result<&'a [u32], Error> {
        self.bits(MASK)
    }

    pub fn mask_mut(&mut self) -> Result<&'a mut [u32], Error> {
        // A block of its own for each record's mask, likewise.
        words_mut(self.word(MASK), words_for(self.axes()?.units()))
    }

    pub fn segment<'b>(&self, axes: &'b Axes) -> Result<Segment<'b>, Error>
    where
        'a: 'b,
    {
        let address = self.word(SCORES);
        let scores = if address == 0 {
            match self.recipe()? {
                Recipe::Weights { element, normalizer: None, .. } => self.elements(element)?,
                _ => return Err(Error::Request("these scores need room")),
            }
        } else {
            let units = axes.units();
            check_range(address, units, size_of::<f32>(), align_of::<f32>())?;
            // SAFETY: the range lies in memory (checked); `score` wrote it in an earlier call, nothing writes there now.
            let scores = unsafe { std::slice::from_raw_parts(address as *const [u8; 4], units) };
            Elements::new(Numbers::Float32(scores), Element::Itself, None)?
        };
        Ok(Segment { scores, axes, earlier: self.earlier()?, group: self.word(GROUP), limit: self.word(LIMIT) })
    }

    /// A pattern along one of the stored axes.
    pub fn pattern(&self) -> Result<Pattern, Error> {
        let (axes, along) = (self.word(AXES), self.word(ALONG));
        if axes > MAX_AXES || along >= axes {
            return Err(Error::Request("a pattern runs along an axis"));
        }
        let stride = (along + 1..axes).try_fold(1usize, |stride, axis| stride.checked_mul(self.word(SIZES + axis)));
        let stride = stride.ok_or(Error::Request("the tensor is larger than memory"))?;
        Ok(Pattern { keep: self.word(KEEP), of: self.word(OF), size: self.word(SIZES + along), stride })
    }

    pub fn set_removed(&mut self, removed: usize) {
        self.words[REMOVED] = removed as u32;
    }

    /// Numbers that were removed, of the same type as the weights.
    pub fn saved(&self) -> Result<Numbers<'a>, Error> {
        numbers(self.word(SAVED), self.word(SAVED_LENGTH), self.words[DATA_TYPE])
    }

    pub fn saved_mut(&mut self) -> Result<NumbersMut<'a>, Error> {
        numbers_mut(self.word(SAVED), self.word(SAVED_LENGTH), self.words[DATA_TYPE])
    }

    pub fn set_saved(&mut self, count: usize) {
        self.words[SAVED_LENGTH] = count as u32;
    }

    pub fn cut(&self) -> Cut {
        Cut {
            removed: self.word(REMOVED),
            key: self.words[KEY] as i32,
            bound: self.word(BOUND),
            settled: self.words[SETTLED] != 0,
            highest: self.words[HIGHEST] as i32,
        }
    }

    pub fn set_cut(&mut self, cut: Cut) {
        self.words[REMOVED] = cut.removed as u32;
        self.words[KEY] = cut.key as u32;
        self.words[BOUND] = cut.bound as u32;
        self.words[SETTLED] = u32::from(cut.settled);
        self.set_highest(cut.highest);
    }

    pub fn set_highest(&mut self, key: i32) {
        self.words[HIGHEST] = key as u32;
    }

    pub fn set_zeros(&mut self, zeros: usize) {
        self.words[ZEROS] = zeros as u32;
    }

    pub fn set_findings(&mut self, findings: Findings) {
        self.words[ZEROS] = findings.zeros as u32;
        self.words[FIRST_NOT_FINITE] = findings.first_not_finite.map_or(NONE, |index| index as u32);
    }
}
