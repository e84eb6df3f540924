//! HTML that cannot be broken out of: markup is text of ours, known when this is compiled;
//! everything else is escaped on its way in.

use std::fmt::{self, Display, Write as _};

/// A document that grows.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of ours.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of anybody's, also inside a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a `String` does not fail.
        let _ = write!(Escape(&mut self.0), "{text}");
        self
    }

    /// Markup around text.
    pub(super) fn put(
        &mut self,
        before: &'static str,
        text: impl Display,
        after: &'static str,
    ) -> &mut Self {
        self.raw(before).text(text).raw(after)
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

struct Escape<'a>(&'a mut String);

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in HTML, and of no use.
                control if control.is_control() && control != '\n' => self.0.push(' '),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}
