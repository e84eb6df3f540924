//! Renders the contents of a database for people.

use etcdr_schemas::report::{Breakdown, Contents, Counted, Tally};

use crate::output;

/// Lines of each table; JSON has more.
const SHOWN: usize = 15;

/// The counts as text, from top to bottom: what there is, what it needs, what is wrong with leases.
pub(super) fn human(contents: &Contents) -> String {
    let Contents { live, rows, .. } = contents;
    let mut parts = vec![format!(
        "{} live keys, {} of values; {rows} changes are still there",
        live.keys,
        output::bytes(live.bytes)
    )];
    if let Some(hash) = &contents.hash_kv {
        let verdict = match contents.hash_kv_matches {
            Some(true) => ", as the live members gave it",
            Some(false) => ", NOT as the live members gave it",
            None => "",
        };
        parts.push(format!("HashKV {} at revision {}{verdict}", hash.hash, hash.revision));
    }
    parts.push(leases(contents));
    if contents.auth.users + contents.auth.roles > 0 {
        let state = if contents.auth.enabled { "on" } else { "off" };
        let (users, roles) = (contents.auth.users, contents.auth.roles);
        parts.push(format!("authentication is {state}: {users} users, {roles} roles"));
    }
    for key in &contents.encryption_keys {
        parts.push(format!(
            "{} values are sealed with {} key {}: this backup is useless without it",
            key.values, key.provider, key.key
        ));
    }
    if !contents.encodings.is_empty() && contents.kubernetes {
        let each = contents.encodings.iter().map(|one| format!("{} {}", one.keys, one.name));
        parts.push(format!("values: {}", each.collect::<Vec<_>>().join(", ")));
    }
    parts.extend(section("RESOURCE", &contents.resources));
    parts.extend(section("NAMESPACE", &contents.namespaces));
    parts.extend(section("PREFIX", &contents.prefixes));
    parts.join("\n")
}

fn leases(contents: &Contents) -> String {
    let leases = &contents.leases;
    let mut text = format!("{} leases, {} keys on them", leases.count, leases.attached_keys);
    if leases.dangling_keys > 0 {
        let named = leases.dangling.iter().take(SHOWN).map(|lease| lease.id.as_str());
        let named = named.collect::<Vec<_>>().join(" ");
        text += &format!(
            "; {} keys name leases that do not exist: {named}{}",
            leases.dangling_keys,
            if leases.dangling.len() > SHOWN { " ..." } else { "" }
        );
    }
    text
}

fn section(title: &str, breakdown: &Breakdown) -> Option<String> {
    let mut rest = breakdown.other;
    for Counted { keys, bytes, .. } in breakdown.named.iter().skip(SHOWN) {
        rest.add(Tally { keys: *keys, bytes: *bytes });
    }
    let line = |name: &str, keys: u64, bytes: u64| {
        [name.to_owned(), keys.to_string(), output::bytes(bytes)]
    };
    let shown = breakdown.named.iter().take(SHOWN);
    let mut rows: Vec<_> = shown
        .map(|one| {
            let name = if one.name.is_empty() { "(no prefix)" } else { &one.name };
            line(name, one.keys, one.bytes)
        })
        .collect();
    if rest.keys > 0 {
        rows.push(line("(others)", rest.keys, rest.bytes));
    }
    let table = |rows| output::table([title, "KEYS", "BYTES"], rows);
    (!rows.is_empty()).then(|| format!("\n{}", table(rows)))
}
