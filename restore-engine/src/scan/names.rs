//! Interns names that repeat (resources, namespaces, prefixes of keys): each gets a small number.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Names that one thread remembers.
const REMEMBERED: usize = 4096;

/// How many names get a number; a hostile database may hold any number of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Number of names.
    pub(crate) names: usize,
    /// Bytes of one name.
    pub(crate) each: usize,
    /// Bytes of all names.
    pub(crate) bytes: usize,
}

/// Names that several threads number together. When there are more than the limits allow, which of
/// them are named can differ from run to run; what is counted does not.
#[derive(Debug)]
pub(crate) struct Names {
    limits: Limits,
    known: Mutex<Numbering>,
}

#[derive(Debug, Default)]
struct Numbering {
    numbers: HashMap<Box<[u8]>, u32>,
    bytes: usize,
}

/// The numbers that one thread has asked for already.
#[derive(Debug, Default)]
pub(crate) struct KnownNames(HashMap<Box<[u8]>, Option<u32>>);

impl Names {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, known: Mutex::default() }
    }

    /// The number of a name, from 0 in order of appearance; `None` for a name that there is no room
    /// for.
    pub(crate) fn number(&self, known: &mut KnownNames, name: &[u8]) -> Option<u32> {
        if let Some(number) = known.0.get(name) {
            return *number;
        }
        if name.len() > self.limits.each {
            return None;
        }
        let number = self.shared(name);
        if known.0.len() >= REMEMBERED {
            known.0.clear();
        }
        known.0.insert(name.into(), number);
        number
    }

    fn shared(&self, name: &[u8]) -> Option<u32> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(name) {
            return Some(*number);
        }
        if known.numbers.len() >= self.limits.names || known.bytes >= self.limits.bytes {
            return None;
        }
        let number = u32::try_from(known.numbers.len()).ok()?;
        known.numbers.insert(name.into(), number);
        known.bytes += name.len();
        Some(number)
    }

    /// The names in order of their numbers.
    pub(crate) fn into_names(self) -> Vec<Box<[u8]>> {
        let known = self.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = known.numbers.into_iter().collect();
        names.sort_unstable_by_key(|(_, number)| *number);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_and_there_are_limits() {
        let names = Names::new(Limits { names: 3, each: 320, bytes: 1000 });
        let (mut one, mut other) = (KnownNames::default(), KnownNames::default());
        let numbers = ["a", "b", "a", "c", "d", "a"];
        let numbers = numbers.map(|name| names.number(&mut one, name.as_bytes()));
        assert_eq!(numbers, [Some(0), Some(1), Some(0), Some(2), None, Some(0)]);
        let numbers = ["d", "c"].map(|name| names.number(&mut other, name.as_bytes()));
        assert_eq!(numbers, [None, Some(2)]);
        assert_eq!(names.number(&mut other, &[b'x'; 321]), None);
        let all: Vec<_> = names.into_names();
        assert_eq!(all, [b"a", b"b", b"c"].map(|name| Box::from(name.as_slice())));
    }

    #[test]
    fn all_names_together_are_bounded_and_a_thread_that_forgets_asks_again() {
        let names = Names::new(Limits { names: 1 << 20, each: 100, bytes: 50_000 });
        let mut known = KnownNames::default();
        let name = |number: u32| format!("{number:010}").into_bytes();
        let last = (0..6000).filter_map(|at| names.number(&mut known, &name(at))).last();
        assert_eq!(last, Some(4999));
        assert_eq!(names.number(&mut known, &name(7)), Some(7));
        assert!(known.0.len() <= REMEMBERED);
    }
}
