//! One word for each page that streamed by, in four bytes.
//!
//! This is the only memory that grows with the database, so each page gets four bytes: 8 GiB of an
//! ordinary database, two million pages, take 8 MiB.

/// Words that are allocated together.
const CHUNK: usize = 8192;

/// What is kept of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Nothing,
    /// A branch with this last child.
    Branch(u64),
    /// A leaf with this last revision.
    Leaf(u64),
    /// A leaf without rows.
    Empty,
}

/// Words by number of page.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<Option<Chunk>>);

/// Revisions of pages that lie together are mostly near each other.
#[derive(Debug)]
enum Chunk {
    /// Revisions count from `base`.
    Near { base: Option<u64>, words: Box<[u32]> },
    /// For whatever does not fit.
    Far(Box<[u64]>),
}

/// A word of `bits` bits: two for its kind, the others for the number.
fn pack(word: Word, bits: u32, base: u64) -> Option<u64> {
    let (tag, value) = match word {
        Word::Nothing => (0, 0),
        Word::Branch(child) => (1, child),
        Word::Leaf(main) => (2, main.checked_sub(base)?),
        Word::Empty => (3, 0),
    };
    (value >> (bits - 2) == 0).then_some(tag << (bits - 2) | value)
}

fn unpack(packed: u64, bits: u32, base: u64) -> Word {
    let value = packed & ((1 << (bits - 2)) - 1);
    match packed >> (bits - 2) {
        1 => Word::Branch(value),
        2 => Word::Leaf(value.saturating_add(base)),
        3 => Word::Empty,
        _ => Word::Nothing,
    }
}

impl Chunk {
    fn new() -> Self {
        Self::Near { base: None, words: vec![0; CHUNK].into() }
    }

    fn get(&self, index: usize) -> Option<Word> {
        match self {
            Self::Near { base, words } => {
                words.get(index).map(|word| unpack((*word).into(), 32, base.unwrap_or_default()))
            }
            Self::Far(words) => words.get(index).map(|word| unpack(*word, 64, 0)),
        }
    }

    fn set(&mut self, index: usize, word: Word) {
        if let Self::Near { base, words } = self {
            if let Word::Leaf(main) = word {
                // Half of the range lies below the first one.
                base.get_or_insert(main.saturating_sub(1 << 29));
            }
            let packed = pack(word, 32, base.unwrap_or_default());
            if let Some(packed) = packed.and_then(|packed| u32::try_from(packed).ok()) {
                if let Some(slot) = words.get_mut(index) {
                    *slot = packed;
                }
                return;
            }
            let far = (0..CHUNK).map(|index| {
                let word = self.get(index).unwrap_or(Word::Nothing);
                pack(word, 64, 0).unwrap_or_default()
            });
            *self = Self::Far(far.collect());
        }
        if let Self::Far(words) = self
            && let Some(slot) = words.get_mut(index)
        {
            // No page has such a number, and no row: what cannot be is not reached.
            *slot = pack(word, 64, 0).unwrap_or_default();
        }
    }
}

impl Words {
    pub(super) fn set(&mut self, page: u64, word: Word) {
        let Ok(index) = usize::try_from(page) else { return };
        let number = index / CHUNK;
        if self.0.len() <= number {
            self.0.resize_with(number + 1, || None);
        }
        if let Some(chunk) = self.0.get_mut(number) {
            chunk.get_or_insert_with(Chunk::new).set(index % CHUNK, word);
        }
    }

    pub(super) fn get(&self, page: u64) -> Word {
        let Ok(index) = usize::try_from(page) else { return Word::Nothing };
        let chunk = self.0.get(index / CHUNK).and_then(Option::as_ref);
        chunk.and_then(|chunk| chunk.get(index % CHUNK)).unwrap_or(Word::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = Word> {
        let number = || prop_oneof![0u64..100, (1u64 << 30) - 2..(1 << 30) + 2, 0u64..1 << 62];
        prop_oneof![
            Just(Word::Nothing),
            Just(Word::Empty),
            number().prop_map(Word::Branch),
            number().prop_map(Word::Leaf),
        ]
    }

    proptest! {
        #[test]
        fn words_come_back(puts in proptest::collection::vec((0u64..20_000, word()), 0..60)) {
            let (mut words, mut model) = (Words::default(), HashMap::new());
            for (page, word) in puts {
                words.set(page, word);
                model.insert(page, word);
            }
            for (page, word) in &model {
                prop_assert_eq!(words.get(*page), *word);
            }
            prop_assert_eq!(words.get(20_000), Word::Nothing);
            prop_assert_eq!(words.get(u64::MAX), Word::Nothing);
        }
    }

    #[test]
    fn usual_pages_take_four_bytes_each_and_no_word_is_no_number_that_cannot_be() {
        let mut words = Words::default();
        for page in 0..CHUNK as u64 {
            words.set(page, Word::Leaf(1_000_000_000_000 + page * 50_000));
        }
        assert!(matches!(words.0.as_slice(), [Some(Chunk::Near { .. })]));
        words.set(1, Word::Leaf(1 << 62));
        assert_eq!(words.get(1), Word::Nothing);
        assert_eq!(words.get(2), Word::Leaf(1_000_000_100_000));
    }
}
