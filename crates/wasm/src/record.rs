//! The words of a record, the numbers that stand in them for words of the facade, and the file that tells the facade of
//! both: `packages/sparsifier/src/engine/codes.ts`.

use sparsifier_kernels::MAX_AXES;

/// A struct of words, and the names of its words for the facade.
macro_rules! words {
    ($(#[$struct_doc:meta])* $struct:ident $places:ident { $($(#[$doc:meta])* $name:ident: $kind:ty,)* }) => {
        $(#[$struct_doc])*
        #[repr(C)]
        pub struct $struct {
            $($(#[$doc])* pub $name: $kind,)*
        }

        /// The name of each word, or of several of one name, and the place of the first.
        #[cfg(test)]
        pub const $places: &[(&str, usize)] =
            &[$((stringify!($name), std::mem::offset_of!($struct, $name) / size_of::<u32>()),)*];
    };
}
pub(crate) use words;

words! {
/// A record. Addresses of 0 mean that there is none.
Words PLACES {
    weights: u32,
    data_type: u32,
    axes: u32,
    sizes: [u32; MAX_AXES],
    orders: [u32; MAX_AXES],
    blocks: [u32; MAX_AXES],
    /// How units are scored: numbers of `Element`, `Reducer` and `Normalizer`.
    element: u32,
    reducer: u32,
    normalizer: u32,
    /// What random draws depend on.
    seed: u32,
    layer: u32,
    scores: u32,
    /// The masks of an earlier call, and of this one.
    earlier: u32,
    mask: u32,
    group: u32,
    limit: u32,
    /// The cut.
    removed: u32,
    key: u32,
    bound: u32,
    settled: u32,
    highest: u32,
    /// What `inspect`, `apply` and `remove` found.
    zeros: u32,
    first_not_finite: u32,
    /// Sums of squares of the numbers that stayed, and of those that became zero: `f64`, the lower word first.
    kept_squares: [u32; 2],
    removed_squares: [u32; 2],
    /// Whether any of the latter was not zero: 0 or 1.
    changed: u32,
    /// What weights are compared with.
    other: u32,
    other_type: u32,
    other_length: u32,
    channel_steps: [u32; 6],
    /// A pattern.
    keep: u32,
    of: u32,
    along: u32,
    saved: u32,
    saved_length: u32,
}
}

/// The bytes of a word.
#[cfg(test)]
const WORD: usize = size_of::<u32>();

/// The types of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    Float32,
    Float16,
    Bfloat16,
}

impl DataType {
    pub const ALL: [DataType; 3] = [DataType::Float32, DataType::Float16, DataType::Bfloat16];
}

/// In the word of an element: a draw per unit.
pub const RANDOM: u32 = 255;

/// In the word of the first number that is not finite: there is none.
pub const NONE: u32 = u32::MAX;

/// A number of 64 bits as two words, the lower one first.
pub fn words_of(number: f64) -> [u32; 2] {
    [number.to_bits() as u32, (number.to_bits() >> 32) as u32]
}

/// Keys cross as whole numbers from 0 on, in the same order.
pub fn crossing(key: i32) -> u32 {
    key as u32 ^ 1 << 31
}

/// The key that crossed as this number.
pub fn crossed(key: u32) -> i32 {
    (key ^ 1 << 31) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::{FINISH, FIT, FinishWords, FitWords, MOMENTS, MOST_CHECKS, MomentsWords};
    use crate::{BAD_REQUEST, DONE, OUT_OF_MEMORY};
    use sparsifier_kernels::{Element, INFINITY_KEY, MAX_PATTERN, Normalizer, Reducer, Survey};
    use std::fmt::Debug;
    use std::mem::offset_of;
    use std::path::Path;

    /// `DATA_TYPE`, `data_type` or `DataType` becomes `dataType`.
    fn camel(name: &str) -> String {
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default();
        let first = format!("{}{}", first[..1].to_lowercase(), &first[1..]);
        words.fold(first, |name, word| format!("{name}{}{}", word[..1].to_uppercase(), &word[1..]))
    }

    fn table<Name: AsRef<str>>(doc: &str, name: &str, rows: impl IntoIterator<Item = (Name, usize)>) -> String {
        let rows: Vec<String> =
            rows.into_iter().map(|(name, code)| format!("  {}: {code},\n", camel(name.as_ref()))).collect();
        format!("\n/** {doc} */\nexport const {name} = {{\n{}}} as const;\n", rows.concat())
    }

    /// The names of variants with their places in the list.
    fn places<T: Debug>(all: &[T]) -> impl Iterator<Item = (String, usize)> {
        all.iter().enumerate().map(|(place, each)| (format!("{each:?}"), place))
    }

    fn number(doc: &str, name: &str, number: usize) -> String {
        format!("\n/** {doc} */\nexport const {name} = {number};\n")
    }

    /// The file as it has to be.
    fn codes() -> String {
        let elements = places(&Element::ALL).skip(1).chain([("random".to_string(), RANDOM as usize)]);
        // The facade writes the name in one word.
        let normalizers = places(&Normalizer::ALL).map(|(name, place)| (name.to_lowercase(), place + 1));
        let statuses = [("done", DONE), ("out_of_memory", OUT_OF_MEMORY), ("bad_request", BAD_REQUEST)]
            .map(|(name, status)| (name, status as usize));
        let counts = [
            ("below", offset_of!(Survey, below) / WORD),
            ("low", offset_of!(Survey, low) / WORD),
            ("between", offset_of!(Survey, between) / WORD),
            ("high", offset_of!(Survey, high) / WORD),
            ("highest", offset_of!(Survey, highest) / WORD),
        ];
        let bins = Survey::EMPTY.between.len();
        [
            "// The numbers that cross the boundary. A test of crates/wasm/src/record.rs writes and checks them.\n"
                .into(),
            table("The score of one weight, by the formulas of `Element` in the kernels.", "element", elements),
            table("How the scores of a unit become one.", "reducers", places(&Reducer::ALL)),
            table("What brings scores to a scale that layers share; 0 where nothing does.", "normalizers", normalizers),
            table("What a verb returns.", "status", statuses),
            table("The types of numbers.", "dataTypes", places(&DataType::ALL)),
            table("Where the words of a record begin.", "word", PLACES.iter().copied()),
            number("How many words a record has.", "recordWords", size_of::<Words>() / WORD),
            table("Where the words of what `moments` takes begin.", "momentsWord", MOMENTS.iter().copied()),
            number("How many words these are.", "momentsWords", size_of::<MomentsWords>() / WORD),
            table("Where the words of what `finish` takes begin.", "finishWord", FINISH.iter().copied()),
            number("How many words these are.", "finishWords", size_of::<FinishWords>() / WORD),
            table("Where the words of what `fit` takes begin.", "fitWord", FIT.iter().copied()),
            number("How many words these are.", "fitWords", size_of::<FitWords>() / WORD),
            number("How many checks of a fit there is room for.", "mostChecks", MOST_CHECKS),
            number("How many axes a record has room for.", "maximumAxes", MAX_AXES),
            number("The largest m of an N:M pattern; the work grows with its square.", "longestPattern", MAX_PATTERN),
            number("The word of the first number that is not finite, where there is none.", "none", NONE as usize),
            table("Where the words begin that `survey` counts in.", "surveyWord", counts),
            number("How many words these are.", "surveyWords", size_of::<Survey>() / WORD),
            number(
                "The keys between the ends of a bracket fall into so many bins, a power of two.",
                "surveyBins",
                bins,
            ),
            number("The key of infinity, and of what is not a number.", "infinityKey", crossing(INFINITY_KEY) as usize),
            number("Keys are whole numbers from 0 to this one.", "largestKey", u32::MAX as usize),
        ]
        .concat()
    }

    #[test]
    fn the_facade_has_the_same_numbers() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packages/sparsifier/src/engine/codes.ts");
        if std::env::var_os("SPARSIFIER_WRITE_CODES").is_some() {
            std::fs::write(path, codes()).unwrap();
            return;
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, codes(), "codes.ts: write it with SPARSIFIER_WRITE_CODES=1 cargo test -p sparsifier-wasm");
    }

    #[test]
    fn keys_keep_their_order_as_they_cross() {
        for keys in [i32::MIN, -1, 0, 1, i32::MAX].windows(2) {
            assert!(crossing(keys[0]) < crossing(keys[1]));
            assert_eq!(crossed(crossing(keys[0])), keys[0]);
        }
    }
}
