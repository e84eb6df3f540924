//! How long files, functions and lines are.

use crate::{all_sources, assert_none, files, over, without_tests};

/// Longer than the cap with a reason. Shorten the list, do not lengthen it.
const LONG_FILES: [(&str, &str); 0] = [];
const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

const MAX_COLUMNS: usize = 100;

fn file_length_findings(path: &str, text: &str) -> Vec<String> {
    let lines = without_tests(text).lines().count();
    let excused = LONG_FILES.iter().any(|(file, _)| *file == path);
    match lines > MAX_FILE_LINES && !excused {
        true => vec![format!("{path}: {lines} lines without tests, more than {MAX_FILE_LINES}")],
        false => Vec::new(),
    }
}

/// rustfmt closes a function with a brace at the indentation of its `fn`.
fn function_length_findings(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = without_tests(text).lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let declares = trimmed.starts_with("fn ")
            || (trimmed.contains(" fn ") && !trimmed.starts_with("//") && trimmed.contains('('));
        if !declares || trimmed.ends_with(';') || trimmed.ends_with('}') {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let close = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == close).map_or(0, |at| at + 1);
        if length > MAX_FUNCTION_LINES {
            found.push(format!("{path}:{}: a function of {length} lines", start + 1));
        }
    }
    found
}

/// rustfmt leaves comments, strings and attributes as wide as they are.
fn wide_line_findings(path: &str, text: &str) -> Vec<String> {
    let wide = text.lines().enumerate().filter_map(|(number, line)| {
        let columns = line.chars().count();
        let number = number + 1;
        (columns > MAX_COLUMNS).then(|| format!("{path}:{number}: a line of {columns} columns"))
    });
    wide.collect()
}

#[test]
fn files_and_functions_stay_short() {
    assert_none(over(all_sources(), file_length_findings));
    assert_none(over(all_sources(), function_length_findings));
    assert_eq!(file_length_findings("a.rs", &"x\n".repeat(401)).len(), 1);
    assert_none(file_length_findings(
        "a.rs",
        &format!("x\n#[cfg(test)]\nmod tests {{\n{}", "x\n".repeat(900)),
    ));
    let long = format!(
        "    pub(crate) async fn long(\n        &self,\n    ) {{\n{}    }}\n",
        "        x();\n".repeat(70)
    );
    assert_eq!(function_length_findings("a.rs", &long).len(), 1);
}

#[test]
fn lines_fit_a_hundred_columns() {
    let mut sources = files(".", ".rs");
    assert!(sources.len() > 400, "the sources were not found");
    // Generated from the .proto files.
    let generated = ["schemas/src/pb/", "agent/src/admin/api/generated.rs"];
    sources.retain(|(path, _)| !generated.iter().any(|part| path.contains(part)));
    assert_none(over(sources, wide_line_findings));
    assert_none(wide_line_findings("a.rs", &format!("{}\n// {}", "x".repeat(100), "é".repeat(97))));
    assert_eq!(wide_line_findings("a.rs", &format!("x\n// {}", "é".repeat(98))).len(), 1);
}
