//! The paths that a source file names: those of its `use` trees and those in its code, each with
//! the inline module that it stands in. What is under `#[cfg(test)]` is left out.

use crate::tokens::{Token, tokens};

/// A path as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The inline modules of the file around it.
    pub(crate) inside: Vec<String>,
    /// `crate`, `super` and `self` included.
    pub(crate) path: Vec<String>,
    /// What a `use` makes of it in its module; none for a path in code and for a glob.
    pub(crate) binds: Option<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// What a file names, and which modules in files of their own it declares for tests only.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) named: Vec<Named>,
    pub(crate) test_modules: Vec<String>,
    pub(crate) inline_modules: Vec<Vec<String>>,
}

/// Reads a file.
pub(crate) fn names(text: &str) -> Names {
    let mut names = Names::default();
    let tokens = without_tests(&tokens(text), &mut names.test_modules);
    let (mut at, mut depth) = (0, 0_usize);
    // The inline modules that are open, with the depth of their braces.
    let mut open: Vec<(String, usize)> = Vec::new();
    while at < tokens.len() {
        let inside = || open.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match texts(&tokens[at..]) {
            ["mod", name, "{"] => {
                depth += 1;
                open.push((name.to_owned(), depth));
                names.inline_modules.push(open.iter().map(|(name, _)| name.clone()).collect());
                at += 3;
            }
            ["use", first, _] if first != "<" => {
                let mut tree =
                    Tree { tokens: &tokens, at: at + 1, inside: inside(), found: vec![] };
                tree.read(&[]);
                at = tree.at;
                names.named.extend(tree.found);
            }
            [first, "::", _] if tokens[at].is_word() && !continues(&tokens[..at]) => {
                let line = tokens[at].line;
                let mut path = vec![first.to_owned()];
                at += 1;
                while let ["::", next, _] = texts(&tokens[at..])
                    && tokens[at + 1].is_word()
                {
                    path.push(next.to_owned());
                    at += 2;
                }
                names.named.push(Named { inside: inside(), path, binds: None, line });
            }
            [sign, ..] => {
                match sign {
                    "{" => depth += 1,
                    "}" => {
                        open.retain(|(_, opened)| *opened < depth);
                        depth = depth.saturating_sub(1);
                    }
                    _ => {}
                }
                at += 1;
            }
        }
    }
    names
}

/// The tokens of a file that are not under `#[cfg(test)]`.
pub(crate) fn code_tokens(text: &str) -> Vec<Token<'_>> {
    without_tests(&tokens(text), &mut Vec::new())
}

/// The next three tokens, empty past the end.
fn texts<'a>(tokens: &[Token<'a>]) -> [&'a str; 3] {
    [0, 1, 2].map(|at| tokens.get(at).map_or("", |token| token.text))
}

/// Whether the next word is a later part of a path, or a method.
fn continues(before: &[Token<'_>]) -> bool {
    before.last().is_some_and(|token| ["::", "."].contains(&token.text))
}

/// One `use` tree.
struct Tree<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    inside: Vec<String>,
    found: Vec<Named>,
}

impl Tree<'_> {
    fn next(&self) -> &str {
        self.tokens.get(self.at).map_or("", |token| token.text)
    }

    /// Reads one branch and stops at the comma, brace or semicolon after it.
    fn read(&mut self, before: &[String]) {
        let mut path = before.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        if path.is_empty() && self.next() == "::" {
            // A crate by its name; the marker is no module of ours.
            path.push("::".to_owned());
        }
        let mut alias = None;
        loop {
            match self.next() {
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.next()) {
                        self.read(&path);
                        if self.next() == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "" | "," | "}" | ";" => break,
                "*" => alias = Some("_".to_owned()),
                "::" => {}
                "as" => {
                    self.at += 1;
                    alias = Some(self.next().to_owned());
                }
                // `a::{self, b}` names `a` itself.
                "self" if !path.is_empty() => {}
                word => path.push(word.to_owned()),
            }
            self.at += 1;
        }
        let binds = alias.or_else(|| path.last().cloned()).filter(|name| name != "_");
        self.found.push(Named { inside: self.inside.clone(), path, binds, line });
    }
}

/// Leaves out each item, field or statement under `#[cfg(test)]`, and notes the modules among them.
fn without_tests<'a>(all: &[Token<'a>], modules: &mut Vec<String>) -> Vec<Token<'a>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let marked = all[at..].iter().map(|token| token.text).take(MARK.len()).eq(MARK);
        if !marked {
            kept.push(all[at]);
            at += 1;
            continue;
        }
        at += MARK.len();
        let end = at + item(&all[at..]);
        for three in all[at..end].windows(3) {
            if let ["mod", name, ";"] = texts(three) {
                modules.push(name.to_owned());
            }
        }
        at = end;
    }
    kept
}

/// How many tokens the item at the beginning has, its further attributes included.
fn item(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" | "," if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[test]
fn the_paths_of_a_file_are_found() {
    let check = |text: &str, expected: &[&str]| {
        let named = names(text).named;
        let found: Vec<_> = named
            .iter()
            .map(|one| {
                let at = one.inside.join("::");
                let path = one.path.join("::");
                let binds = one.binds.as_deref().unwrap_or("-");
                format!("{}:{at}:{path}:{binds}", one.line)
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check(
        "use crate::a;\nuse super::{b::{self, c as d}, e::*};",
        &["1::crate::a:a", "2::super::b:b", "2::super::b::c:d", "2::super::e:-"],
    );
    check("use ::std::io; fn f() -> impl T + use<'a> { x }", &["1::::::std::io:io"]);
    check(
        "pub(crate) use a::B as _; let x = crate::a::f::<u8>(y.z, q::w!());",
        &["1::a::B:-", "1::crate::a::f:-", "1::q::w:-"],
    );
    check(
        "mod m { use super::a; mod n { fn f() { crate::b() } } } use c;",
        &["1:m:super::a:a", "1:m::n:crate::b:-", "1::c:c"],
    );
    check("// crate::a\n/// [`crate::b`]\n#[doc = \"crate::c\"] x", &[]);
    check("struct S { #[cfg(test)] x: crate::a::B, y: crate::c::D }", &["1::crate::c::D:-"]);
    check(
        "#[cfg(test)] #[path = \"x\"] mod tests { use super::a; }\nuse super::b;",
        &["2::super::b:b"],
    );
    assert_eq!(names("#[cfg(test)]\nmod tests;\nmod a;").test_modules, ["tests"]);
}
