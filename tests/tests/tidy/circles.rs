//! No circle between sibling modules: whoever reads a crate can begin at its lowest module and
//! never meets a name that comes later. A parent and its child may name each other, and everything
//! may name `error`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::paths::{Named, Names, names};

/// A module by its names below the root of its crate.
type Path = Vec<String>;
/// Edges between the children of one module, each with the first place that names it.
type Edges = BTreeMap<(String, String), String>;

struct Crate {
    /// By module: the names it takes from elsewhere, each as it is written.
    bindings: BTreeMap<(Path, String), Path>,
    modules: BTreeSet<Path>,
    named: Vec<(Path, Named, String)>,
}

impl Crate {
    /// From the files of one `src` folder; paths are below it.
    fn read(files: &[(String, String)], shown: &dyn Fn(&str) -> String) -> Self {
        let read: Vec<(Path, &str, Names)> =
            files.iter().map(|(path, text)| (module(path), path.as_str(), names(text))).collect();
        let tests: BTreeSet<Path> = read
            .iter()
            .flat_map(|(at, _, names)| names.test_modules.iter().map(|name| below(at, name)))
            .collect();
        let mut all =
            Self { bindings: BTreeMap::new(), modules: BTreeSet::new(), named: Vec::new() };
        for (at, path, names) in read {
            if (1..=at.len()).any(|depth| tests.contains(&at[..depth])) {
                continue;
            }
            all.modules
                .extend(names.inline_modules.iter().map(|inside| [&at[..], inside].concat()));
            for named in names.named {
                let from = [&at[..], &named.inside].concat();
                if let Some(name) = &named.binds {
                    all.bindings.insert((from.clone(), name.clone()), named.path.clone());
                }
                let place = format!("{}:{}", shown(path), named.line);
                all.named.push((from, named, place));
            }
            all.modules.insert(at);
        }
        all
    }

    /// The module that a path leads into; none if that is not of this crate. A name that an
    /// ancestor of `from` only passes on counts for the module that it comes from.
    fn target(&self, from: &[String], path: &[String], hops: usize) -> Option<Path> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => from.split_last()?.1.to_vec(),
            name if self.modules.contains(&below(from, name)) => below(from, name),
            name => {
                let bound = self.bindings.get(&(from.to_vec(), name.to_owned()))?;
                // A binding whose path begins with its own name is that of another crate.
                let bound = Some(bound).filter(|bound| hops > 0 && bound[0] != name)?;
                return self.target(from, &[bound, rest].concat(), hops - 1);
            }
        };
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                at.pop()?;
            } else if self.modules.contains(&below(&at, next)) {
                at.push(next.clone());
            } else {
                let bound = self.bindings.get(&(at.clone(), next.clone()));
                let passed_on = bound.filter(|_| hops > 0 && from.starts_with(&at) && from != at);
                let followed =
                    passed_on.and_then(|path| self.target(&at, &[path, after].concat(), hops - 1));
                return Some(followed.unwrap_or(at));
            }
            rest = after;
        }
        Some(at)
    }

    /// By parent: which of its children name which.
    fn edges(&self) -> BTreeMap<Path, Edges> {
        let mut all: BTreeMap<Path, Edges> = BTreeMap::new();
        for (from, named, place) in &self.named {
            let Some(to) = self.target(from, &named.path, 8) else { continue };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let (Some(a), Some(b)) = (from.get(common), to.get(common)) else { continue };
            if a != "error" && b != "error" {
                let edges = all.entry(from[..common].to_vec()).or_default();
                edges.entry((a.clone(), b.clone())).or_insert_with(|| place.clone());
            }
        }
        all
    }
}

fn below(parent: &[String], name: &str) -> Path {
    let mut path = parent.to_vec();
    path.push(name.to_owned());
    path
}

/// The module that a file holds.
fn module(path: &str) -> Path {
    let mut parts: Path = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let last = parts.last().map_or("", String::as_str);
    if last == "mod" || (parts.len() == 1 && ["lib", "main"].contains(&last)) {
        parts.pop();
    }
    parts
}

/// For each edge that lies on a circle, the shortest one through it; equal ones once.
fn circles(edges: &Edges) -> BTreeSet<Vec<&str>> {
    let mut found = BTreeSet::new();
    for (from, to) in edges.keys() {
        if let Some(mut way) = shortest(edges, to, from) {
            let least = way.iter().enumerate().min_by_key(|(_, name)| **name);
            let least = least.map_or(0, |(at, _)| at);
            way.rotate_left(least);
            found.insert(way);
        }
    }
    found
}

/// The modules on the shortest way, both ends included.
fn shortest<'a>(edges: &'a Edges, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = vec![at];
            while let Some(before) = way.last().filter(|last| **last != from) {
                way.push(came[before]);
            }
            way.reverse();
            return Some(way);
        }
        for (_, next) in edges.keys().filter(|(name, _)| name == at) {
            if next != from && !came.contains_key(next.as_str()) {
                came.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The circles of a crate, from its files with their paths below `src`.
pub(crate) fn circle_findings(name: &str, files: &[(String, String)]) -> Vec<String> {
    let all = Crate::read(files, &|path| format!("{name}/src/{path}"));
    let mut found = Vec::new();
    for (parent, edges) in all.edges() {
        let parent = [&[name.to_owned()], &parent[..]].concat().join("::");
        for circle in circles(&edges) {
            let pairs = circle.iter().zip(circle.iter().cycle().skip(1));
            let places = pairs.map(|(from, to)| {
                let place = &edges[&((*from).to_owned(), (*to).to_owned())];
                format!("\n    {from} names {to} at {place}")
            });
            let places: String = places.collect();
            found.push(format!("{parent}: {} -> {}{places}", circle.join(" -> "), circle[0]));
        }
    }
    found
}

#[test]
fn circles_between_siblings_are_found() {
    // Files of a crate, and the circles that are expected.
    let check = |files: &[(&str, &str)], expected: &[&str]| {
        let files: Vec<_> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let found = circle_findings("x", &files);
        let circles: Vec<_> = found.iter().filter_map(|one| one.lines().next()).collect();
        assert_eq!(circles, expected, "{files:?}");
    };
    let root = ("lib.rs", "mod a; mod b; mod c; mod error; pub use b::B;");
    check(&[root, ("a.rs", "use crate::b::B;"), ("b.rs", "")], &[]);
    check(
        &[root, ("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { super::a::g() }")],
        &["x: a -> b -> a"],
    );
    // Through a third, from deep inside, and by what the parent passes on.
    let c = ("c.rs", "use crate::{B as Z, error::E};");
    check(
        &[
            root,
            ("a.rs", ""),
            ("a/y.rs", "use crate::{c::{self, D}};"),
            c,
            ("b.rs", "use super::a;"),
        ],
        &["x: a -> c -> b -> a"],
    );
    // Inside a folder, by way of an imported parent.
    let y = ("a/y.rs", "use crate::a; fn f() { a::z::g() }");
    check(
        &[root, ("a.rs", "mod y; mod z;"), y, ("a/z.rs", "use super::y::Y;")],
        &["x::a: y -> z -> y"],
    );
    // Parent and child, errors, other crates, tests and documentation do not count.
    check(&[root, ("a.rs", "mod y; use y::Y;"), ("a/y.rs", "use super::A; use crate::top;")], &[]);
    check(&[root, ("a.rs", "use crate::error::E;"), ("error.rs", "use crate::a::A;")], &[]);
    check(&[root, ("a.rs", "use b::B; use ::b::C;"), ("b.rs", "use crate::a;")], &[]);
    check(&[root, ("a.rs", "/// [`crate::b::B`]\nfn f() {}"), ("b.rs", "use crate::a;")], &[]);
    let a = ("a.rs", "#[cfg(test)] mod tests; #[cfg(test)] mod more { use crate::b; }");
    check(&[root, a, ("a/tests.rs", "use crate::b;"), ("b.rs", "use crate::a;")], &[]);
}
