//! Protobuf messages, field by field, out of borrowed bytes: no copies, no allocation, no
//! recursion.

/// What one field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number, or part of one that is negative.
    Varint(u64),
    /// Bytes, text or a message.
    Bytes(&'a [u8]),
    /// Eight or four bytes; nothing of etcd's has them.
    Fixed,
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) const fn number(self) -> Option<u64> {
        match self {
            Self::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// An int64: a negative one is stored as its two's complement.
    pub(crate) fn signed(self) -> Option<i64> {
        self.number().map(u64::cast_signed)
    }
}

/// The fields of a message in stored order. A field that is `None` is damage, and the last one.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    left: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self { left: message }
    }

    /// The bytes of the fields that were not given yet.
    pub(crate) const fn left(&self) -> &'a [u8] {
        self.left
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                let (bytes, left) = self.left.split_at_checked(len)?;
                self.left = left;
                Value::Bytes(bytes)
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        Some((number, value))
    }

    fn skip(&mut self, len: usize) -> Option<Value<'a>> {
        self.left = self.left.get(len..)?;
        Some(Value::Fixed)
    }

    fn varint(&mut self) -> Option<u64> {
        // Nearly every number here has one byte.
        if let [byte @ 0..=0x7f, left @ ..] = self.left {
            self.left = left;
            return Some(u64::from(*byte));
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, left) = self.left.split_first()?;
            self.left = left;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.left = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_come_in_order_and_damage_is_the_last() {
        let message = b"\x0a\x02/a\x10\x96\x01\x1d\0\0\0\0\x21\0\0\0\0\0\0\0\0";
        let fields: Option<Vec<_>> = Fields::of(message).collect();
        let want = [
            (1, Value::Bytes(b"/a")),
            (2, Value::Varint(150)),
            (3, Value::Fixed),
            (4, Value::Fixed),
        ];
        assert_eq!(fields.unwrap(), want);
        for bad in [&b"\x0a\x05/a"[..], b"\x10", b"\x03", b"\x00\x01", b"\x1d\0\0", &[0xff; 11]] {
            let fields: Vec<_> = Fields::of(bad).collect();
            assert_eq!(fields.last(), Some(&None), "{bad:02x?}");
        }
        assert_eq!(Value::Varint(u64::MAX).signed(), Some(-1));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end(bytes: Vec<u8>) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
