//! Records of a table, read and checked.

use std::sync::Mutex;

use sparsifier_kernels::{
    Axes, Axis, ChannelStep, Cut, Element, Elements, Error, Findings, MAX_AXES, Normalizer, Numbers, NumbersMut, Other,
    Pattern, Reducer, Removal, Segment, Survey, Zeroed, words_for,
};

use crate::blocks::check_range;
use crate::record::{DataType, NONE, RANDOM, Words, crossed, crossing, words_of};

/// How a record's units are scored.
pub enum Recipe {
    Random { seed: u32, layer: u32 },
    Weights { element: Element, reducer: Reducer, normalizer: Option<Normalizer> },
}

/// The record of one tensor.
pub struct Record<'a> {
    words: &'a mut Words,
}

/// The records of a table.
pub fn records<'a>(table: usize, count: usize) -> Result<Vec<Record<'a>>, Error> {
    check_range(table, count, size_of::<Words>(), align_of::<u32>())?;
    let mut list = crate::list(count)?;
    if count > 0 {
        // SAFETY: the range lies in a block and is aligned (checked); the caller promises that it wrote the table there,
        // lends it for this call alone, and that no tensor, score or mask overlaps it.
        let table = unsafe { std::slice::from_raw_parts_mut(table as *mut Words, count) };
        list.extend(table.iter_mut().map(|words| Record { words }));
    }
    Ok(list)
}

/// `count` words to read.
pub fn words<'a>(address: usize, count: usize) -> Result<&'a [u32], Error> {
    check_range(address, count, size_of::<u32>(), align_of::<u32>())?;
    // SAFETY: the range lies in a block and is aligned (checked); the caller promises that nothing writes there meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(address as *const u32, count) })
}

/// `count` words to write.
pub fn words_mut<'a>(address: usize, count: usize) -> Result<&'a mut [u32], Error> {
    check_range(address, count, size_of::<u32>(), align_of::<u32>())?;
    // SAFETY: the range lies in a block and is aligned (checked); the caller promises a block of its own for these words.
    Ok(unsafe { std::slice::from_raw_parts_mut(address as *mut u32, count) })
}

/// Words that are counted in.
pub fn survey_mut<'a>(address: usize) -> Result<&'a mut Survey, Error> {
    check_range(address, 1, size_of::<Survey>(), align_of::<Survey>())?;
    // SAFETY: the range lies in a block and is aligned (checked), and any words are a survey; the caller promises a block of
    // its own for these.
    Ok(unsafe { &mut *(address as *mut Survey) })
}

/// Room for `count` numbers, such as scores.
pub fn floats_mut<'a>(address: usize, count: usize) -> Result<&'a mut [f32], Error> {
    check_range(address, count, size_of::<f32>(), align_of::<f32>())?;
    // SAFETY: the range lies in a block and is aligned (checked); the caller promises a block of its own for these.
    Ok(unsafe { std::slice::from_raw_parts_mut(address as *mut f32, count) })
}

/// `count` numbers to read.
pub fn floats<'a>(address: usize, count: usize) -> Result<&'a [f32], Error> {
    check_range(address, count, size_of::<f32>(), align_of::<f32>())?;
    // SAFETY: the range lies in a block and is aligned (checked); the caller promises that nothing writes there meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(address as *const f32, count) })
}

/// `count` sums that are added to.
pub fn sums_mut<'a>(address: usize, count: usize) -> Result<&'a mut [f64], Error> {
    check_range(address, count, size_of::<f64>(), align_of::<f64>())?;
    // SAFETY: the range lies in a block and is aligned (checked); the caller promises a block of its own for these sums.
    Ok(unsafe { std::slice::from_raw_parts_mut(address as *mut f64, count) })
}

/// Numbers of a data type, anywhere in memory.
pub fn numbers<'a>(address: usize, count: usize, data_type: u32) -> Result<Numbers<'a>, Error> {
    let data_type = data_type_of(data_type)?;
    check_range(address, count, bytes_of(data_type), 1)?;
    // SAFETY (all three): the range lies in a block (checked) and byte arrays have no alignment; the caller promises that
    // the numbers are there and that nothing writes to them during the call.
    Ok(match data_type {
        // SAFETY: as above.
        DataType::Float32 => Numbers::Float32(unsafe { std::slice::from_raw_parts(address as *const [u8; 4], count) }),
        // SAFETY: as above.
        DataType::Float16 => Numbers::Float16(unsafe { std::slice::from_raw_parts(address as *const [u8; 2], count) }),
        DataType::Bfloat16 => {
            // SAFETY: as above.
            Numbers::Bfloat16(unsafe { std::slice::from_raw_parts(address as *const [u8; 2], count) })
        }
    })
}

/// Numbers of a data type to change, anywhere in memory.
fn numbers_mut<'a>(address: usize, count: usize, data_type: u32) -> Result<NumbersMut<'a>, Error> {
    let data_type = data_type_of(data_type)?;
    check_range(address, count, bytes_of(data_type), 1)?;
    // SAFETY (all three): as in `numbers`; records that may share numbers are changed one after another (`run`), those of
    // `remove` share none, and the caller promises that a record's tensor overlaps neither its mask nor saved numbers, so
    // this is the only view of the range while it lives.
    Ok(match data_type {
        DataType::Float32 => {
            // SAFETY: as above.
            NumbersMut::Float32(unsafe { std::slice::from_raw_parts_mut(address as *mut [u8; 4], count) })
        }
        DataType::Float16 => {
            // SAFETY: as above.
            NumbersMut::Float16(unsafe { std::slice::from_raw_parts_mut(address as *mut [u8; 2], count) })
        }
        DataType::Bfloat16 => {
            // SAFETY: as above.
            NumbersMut::Bfloat16(unsafe { std::slice::from_raw_parts_mut(address as *mut [u8; 2], count) })
        }
    })
}

fn data_type_of(number: u32) -> Result<DataType, Error> {
    DataType::ALL.get(number as usize).copied().ok_or(Error::Request("unknown data type"))
}

fn bytes_of(data_type: DataType) -> usize {
    match data_type {
        DataType::Float32 => 4,
        DataType::Float16 | DataType::Bfloat16 => 2,
    }
}

impl<'a> Record<'a> {
    pub fn axes(&self) -> Result<Axes, Error> {
        let Words { sizes, orders, blocks, .. } = &*self.words;
        let count = self.words.axes as usize;
        if count > MAX_AXES {
            return Err(Error::Request("more axes than a record holds"));
        }
        let mut axes = [Axis::default(); MAX_AXES];
        for (i, axis) in axes[..count].iter_mut().enumerate() {
            *axis = Axis { size: sizes[i] as usize, block: blocks[i] as usize, order: orders[i] as u8 };
        }
        Axes::new(&axes[..count])
    }

    pub fn data_type(&self) -> u32 {
        self.words.data_type
    }

    /// The weights, anywhere in memory.
    pub fn numbers(&self) -> Result<Numbers<'a>, Error> {
        numbers(self.words.weights as usize, self.axes()?.weights(), self.words.data_type)
    }

    /// What the weights are compared with: one number for each, or one for each input channel where steps are given.
    fn other(&self) -> Result<Option<Other<'a>>, Error> {
        if self.words.other == 0 {
            return Ok(None);
        }
        let numbers = numbers(self.words.other as usize, self.words.other_length as usize, self.words.other_type)?;
        let step = |place: usize| {
            let [stride, size, factor] = std::array::from_fn(|i| self.words.channel_steps[3 * place + i] as usize);
            ChannelStep { stride, size, factor }
        };
        let steps = [step(0), step(1)];
        Ok(Some(if steps[0].stride == 0 { Other::Each(numbers) } else { Other::Channels { numbers, steps } }))
    }

    pub fn numbers_mut(&mut self) -> Result<NumbersMut<'a>, Error> {
        numbers_mut(self.words.weights as usize, self.axes()?.weights(), self.words.data_type)
    }

    pub fn elements(&self, element: Element) -> Result<Elements<'a>, Error> {
        Elements::new(self.numbers()?, element, self.other()?)
    }

    pub fn recipe(&self) -> Result<Recipe, Error> {
        let unknown = Err(Error::Request("unknown recipe"));
        let Words { element, reducer, normalizer, seed, layer, .. } = *self.words;
        if element == RANDOM {
            return Ok(Recipe::Random { seed, layer });
        }
        let (element, reducer) = (Element::ALL.get(element as usize), Reducer::ALL.get(reducer as usize));
        let normalizer = match normalizer as usize {
            0 => Some(None),
            number => Normalizer::ALL.get(number - 1).map(|normalizer| Some(*normalizer)),
        };
        let (Some(&element), Some(&reducer), Some(normalizer)) = (element, reducer, normalizer) else { return unknown };
        // Scores that are there already need no recipe.
        if element == Element::Itself {
            return unknown;
        }
        Ok(Recipe::Weights { element, reducer, normalizer })
    }

    /// What goes, where the units are weights that are scored by nothing else.
    pub fn removal(&mut self) -> Result<Option<Removal<'a>>, Error> {
        let Recipe::Weights { element, .. } = self.recipe()? else { return Ok(None) };
        if self.words.scores != 0 || self.words.other != 0 {
            return Ok(None);
        }
        Ok(Some(Removal {
            numbers: self.numbers_mut()?,
            element,
            axes: self.axes()?,
            earlier: self.earlier()?,
            cut: self.cut(),
            bits: self.mask_mut()?,
            zeroed: Mutex::default(),
        }))
    }

    /// Room for one score per unit, or none where the units are weights and are scored on the fly.
    pub fn scores_mut(&mut self) -> Result<Option<&'a mut [f32]>, Error> {
        let address = self.words.scores as usize;
        if address == 0 {
            return Ok(None);
        }
        // A block of its own for each record's scores: the caller promises it, and records may be worked on side by side.
        floats_mut(address, self.axes()?.units()).map(Some)
    }

    fn bits(&self, address: u32) -> Result<&'a [u32], Error> {
        words(address as usize, words_for(self.axes()?.units()))
    }

    /// The mask of an earlier call.
    pub fn earlier(&self) -> Result<Option<&'a [u32]>, Error> {
        if self.words.earlier == 0 { Ok(None) } else { self.bits(self.words.earlier).map(Some) }
    }

    pub fn mask(&self) -> Result<&'a [u32], Error> {
        self.bits(self.words.mask)
    }

    pub fn mask_mut(&mut self) -> Result<&'a mut [u32], Error> {
        // A block of its own for each record's mask, likewise.
        words_mut(self.words.mask as usize, words_for(self.axes()?.units()))
    }

    pub fn segment<'b>(&self, axes: &'b Axes) -> Result<Segment<'b>, Error>
    where
        'a: 'b,
    {
        let address = self.words.scores as usize;
        let scores = if address == 0 {
            match self.recipe()? {
                Recipe::Weights { element, normalizer: None, .. } => self.elements(element)?,
                _ => return Err(Error::Request("these scores need room")),
            }
        } else {
            let units = axes.units();
            check_range(address, units, size_of::<f32>(), align_of::<f32>())?;
            // SAFETY: the range lies in a block (checked); `score` wrote it in an earlier call, nothing writes there now.
            let scores = unsafe { std::slice::from_raw_parts(address as *const [u8; 4], units) };
            Elements::new(Numbers::Float32(scores), Element::Itself, None)?
        };
        Ok(Segment {
            scores,
            axes,
            earlier: self.earlier()?,
            group: self.words.group as usize,
            limit: self.words.limit as usize,
        })
    }

    /// A pattern along one of the stored axes.
    pub fn pattern(&self) -> Result<Pattern, Error> {
        let (axes, along) = (self.words.axes as usize, self.words.along as usize);
        if axes > MAX_AXES || along >= axes {
            return Err(Error::Request("a pattern runs along an axis"));
        }
        let stride =
            (along + 1..axes).try_fold(1usize, |stride, axis| stride.checked_mul(self.words.sizes[axis] as usize));
        let stride = stride.ok_or(Error::Request("the tensor is larger than memory"))?;
        Ok(Pattern {
            keep: self.words.keep as usize,
            of: self.words.of as usize,
            size: self.words.sizes[along] as usize,
            stride,
        })
    }

    pub fn set_removed(&mut self, removed: usize) {
        self.words.removed = removed as u32;
    }

    /// Numbers that were removed, of the same type as the weights.
    pub fn saved(&self) -> Result<Numbers<'a>, Error> {
        numbers(self.words.saved as usize, self.words.saved_length as usize, self.words.data_type)
    }

    pub fn saved_mut(&mut self) -> Result<NumbersMut<'a>, Error> {
        numbers_mut(self.words.saved as usize, self.words.saved_length as usize, self.words.data_type)
    }

    pub fn set_saved(&mut self, count: usize) {
        self.words.saved_length = count as u32;
    }

    pub fn cut(&self) -> Cut {
        Cut {
            removed: self.words.removed as usize,
            key: crossed(self.words.key),
            bound: self.words.bound as usize,
            settled: self.words.settled != 0,
            highest: crossed(self.words.highest),
        }
    }

    pub fn set_cut(&mut self, cut: Cut) {
        self.words.removed = cut.removed as u32;
        self.words.key = crossing(cut.key);
        self.words.bound = cut.bound as u32;
        self.words.settled = u32::from(cut.settled);
        self.set_highest(cut.highest);
    }

    pub fn set_highest(&mut self, key: i32) {
        self.words.highest = crossing(key);
    }

    pub fn set_zeroed(&mut self, Zeroed { zeros, kept_squares, removed_squares, is_changed }: Zeroed) {
        self.words.zeros = zeros as u32;
        self.words.kept_squares = words_of(kept_squares);
        self.words.removed_squares = words_of(removed_squares);
        self.words.changed = u32::from(is_changed);
    }

    pub fn set_findings(&mut self, findings: Findings) {
        self.words.zeros = findings.zeros as u32;
        self.words.first_not_finite = findings.first_not_finite.map_or(NONE, |index| index as u32);
    }
}
