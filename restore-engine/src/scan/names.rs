//! Small numbers for names that come again and again: resources, namespaces, keys of encryption.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The number of all names that there was no room for.
pub(crate) const OTHER: u16 = u16::MAX;
/// Longest name in bytes: a resource with its group is shorter.
const MAX_NAME: usize = 320;

/// Names that several threads number together. When there are more than its limit, which of them are named can differ
/// from run to run; what is counted does not.
#[derive(Debug)]
pub(crate) struct Names {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<String, u16>,
    names: Vec<String>,
}

/// What one thread knows of the numbers.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<String, u16>);

impl Names {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default() }
    }

    pub(crate) fn number(&self, known: &mut Known, name: &str) -> u16 {
        if let Some(number) = known.0.get(name) {
            return *number;
        }
        if name.len() > MAX_NAME {
            return OTHER;
        }
        let number = self.shared(name);
        if known.0.len() < self.limit {
            known.0.insert(name.to_owned(), number);
        }
        number
    }

    fn shared(&self, name: &str) -> u16 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = inner.ids.get(name) {
            return *number;
        }
        let number = u16::try_from(inner.names.len()).unwrap_or(OTHER);
        if number == OTHER || inner.names.len() >= self.limit {
            return OTHER;
        }
        inner.ids.insert(name.to_owned(), number);
        inner.names.push(name.to_owned());
        number
    }

    /// The names in order of their numbers.
    pub(crate) fn into_names(self) -> Vec<String> {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_and_there_is_a_limit() {
        let names = Names::new(3);
        let (mut one, mut other) = (Known::default(), Known::default());
        let numbers = ["a", "b", "a", "c", "d", "a"].map(|name| names.number(&mut one, name));
        assert_eq!(numbers, [0, 1, 0, 2, OTHER, 0]);
        assert_eq!(["d", "c"].map(|name| names.number(&mut other, name)), [OTHER, 2]);
        assert_eq!(names.number(&mut other, &"x".repeat(321)), OTHER);
        assert_eq!(names.into_names(), ["a", "b", "c"]);
    }
}
