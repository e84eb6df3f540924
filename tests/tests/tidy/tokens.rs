//! Rust source as a row of tokens, enough to find paths in it: comments, strings, characters and
//! lifetimes are left out, `::` is one token.

/// One word or sign of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(is_word_start)
    }
}

/// The tokens of a file that compiles.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let (length, is_token) = piece(&text[at..]);
        let piece = &text[at..at + length];
        if is_token {
            found.push(Token { text: piece.trim_start_matches("r#"), line });
        }
        line += piece.matches('\n').count();
        at += length;
    }
    found
}

/// The length of what the text begins with, and whether that is a token.
fn piece(text: &str) -> (usize, bool) {
    let first = text.chars().next().unwrap_or(' ');
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), false);
    }
    if text.starts_with("/*") {
        return (block_comment(text), false);
    }
    if let Some(length) = string(text) {
        return (length, false);
    }
    if text.starts_with("b'") || first == '\'' {
        return (character_or_lifetime(text), false);
    }
    if let Some(raw) = text.strip_prefix("r#") {
        return (2 + word(raw), true);
    }
    if is_word_start(first) {
        return (word(text), true);
    }
    if first.is_ascii_digit() {
        return (word(text), false);
    }
    match text.starts_with("::") {
        true => (2, true),
        false => (first.len_utf8(), !first.is_whitespace()),
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string literal of any kind, if the text begins with one.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(*prefix);
        rest.is_some_and(|rest| match prefix.ends_with('r') {
            true => rest.trim_start_matches('#').starts_with('"'),
            false => rest.starts_with('"'),
        })
    })?;
    let rest = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let close = format!("\"{}", "#".repeat(hashes));
        let inside = &rest[hashes + 1..];
        let end = inside.find(&close).map_or(inside.len(), |at| at + close.len());
        return Some(prefix.len() + hashes + 1 + end);
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Some(prefix.len() + at + 1),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some(text.len())
}

/// `'a'` is a character, `'a` a lifetime.
fn character_or_lifetime(text: &str) -> usize {
    let open = text.find('\'').map_or(1, |at| at + 1);
    let inside = &text[open..];
    if inside.starts_with('\\') {
        // The character after the backslash may be the quote itself.
        let end = inside.char_indices().skip(2).find(|(_, c)| *c == '\'');
        return end.map_or(text.len(), |(at, _)| open + at + 1);
    }
    let length = inside.chars().next().map_or(0, char::len_utf8);
    match inside[length..].starts_with('\'') {
        true => open + length + 1,
        false => open + word(inside),
    }
}

#[test]
fn tokens_are_what_is_not_text() {
    let check = |text: &str, expected: &[&str]| {
        let found: Vec<_> = tokens(text).iter().map(|token| token.text).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("use crate::a; // crate::b", &["use", "crate", "::", "a", ";"]);
    check("/// crate::b\n/* a /* b */ c */ x", &["x"]);
    check(
        "f(\"crate::\\\" b\", r#\"a \" b\"#, b\"x\", br##\"\"#\"##, c)",
        &["f", "(", ",", ",", ",", ",", "c", ")"],
    );
    check(
        "a('\"', '\\'', b'\\\\', 'x', '{', '\\u{7d}')<'static>",
        &["a", "(", ",", ",", ",", ",", ",", ")", "<", ">"],
    );
    check("r#mod::x 0x1f 0..n", &["mod", "::", "x", ".", ".", "n"]);
    let lines: Vec<_> = tokens("a\n\"x\ny\" b\n/*\n*/ c").iter().map(|token| token.line).collect();
    assert_eq!(lines, [1, 3, 5]);
}
