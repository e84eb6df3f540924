//! Whether bytes are one whole CBOR item (RFC 8949), without keeping any of it.

/// Levels of nesting; Kubernetes' own decoder stops at 64.
const MAX_DEPTH: usize = 128;

/// What is still to come on one level.
#[derive(Clone, Copy)]
enum Level {
    /// That many items.
    Items(u64),
    /// Items until a break.
    Open,
    /// Definite strings of this major type until a break.
    Chunks(u8),
}

/// Whether `bytes` are one item and nothing else. JSON's depth limit is kept in a list, not on the
/// stack.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut reader = Reader { left: bytes };
    let mut levels = vec![Level::Items(1)];
    while let Some(level) = levels.last_mut() {
        if let Level::Items(left) = level {
            if *left == 0 {
                levels.pop();
                continue;
            }
            *left -= 1;
        }
        let inside = *level;
        let Some(next) = reader.item(inside) else { return false };
        match next {
            Next::Leaf => {}
            Next::Break => {
                levels.pop();
            }
            Next::Down(level) if levels.len() < MAX_DEPTH => levels.push(level),
            Next::Down(_) => return false,
        }
    }
    reader.left.is_empty()
}

enum Next {
    Leaf,
    Break,
    Down(Level),
}

struct Reader<'a> {
    left: &'a [u8],
}

impl Reader<'_> {
    fn item(&mut self, inside: Level) -> Option<Next> {
        let (&head, left) = self.left.split_first()?;
        self.left = left;
        let (major, info) = (head >> 5, head & 31);
        if head == 0xff {
            return (!matches!(inside, Level::Items(_))).then_some(Next::Break);
        }
        if matches!(inside, Level::Chunks(of) if of != major || info == 31) {
            return None;
        }
        if info == 31 {
            return match major {
                2 | 3 => Some(Next::Down(Level::Chunks(major))),
                4 | 5 => Some(Next::Down(Level::Open)),
                _ => None,
            };
        }
        let argument = self.argument(info)?;
        match major {
            2 | 3 => {
                self.left = self.left.get(usize::try_from(argument).ok()?..)?;
                Some(Next::Leaf)
            }
            4 => Some(Next::Down(Level::Items(argument))),
            5 => Some(Next::Down(Level::Items(argument.checked_mul(2)?))),
            6 => Some(Next::Down(Level::Items(1))),
            _ => Some(Next::Leaf),
        }
    }

    fn argument(&mut self, info: u8) -> Option<u64> {
        let len = match info {
            0..=23 => return Some(u64::from(info)),
            24..=27 => 1usize << (info - 24),
            _ => return None,
        };
        let (bytes, left) = self.left.split_at_checked(len)?;
        self.left = left;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_whole_or_not() {
        let whole: [&[u8]; 9] = [
            b"\x00",
            b"\xa1\x61a\x82\x01\x02",
            b"\xbf\x61a\x01\xff",
            b"\x5f\x41a\x42bc\xff",
            b"\x9f\xff",
            b"\xc1\x1a\x00\x00\x00\x01",
            b"\xfb\0\0\0\0\0\0\0\0",
            b"\xf6",
            b"\xd9\xd9\xf7\x80",
        ];
        for bytes in whole {
            assert!(is_whole(bytes), "{bytes:02x?}");
            assert!(!is_whole(&[bytes, b"\0"].concat()), "{bytes:02x?} and more");
            assert!(!is_whole(&bytes[..bytes.len() - 1]), "{bytes:02x?} cut");
        }
        let deep = vec![0x81; 200];
        let bad: [&[u8]; 5] =
            [b"\xff", b"\x1c", b"\x5f\x61a\xff", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", &deep];
        for bytes in bad {
            assert!(!is_whole(bytes), "{bytes:02x?}");
        }
    }
}
