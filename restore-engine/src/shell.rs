//! Words of commands that a person will paste.

/// Quotes for a POSIX shell what a shell would take apart.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.contains('[') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_start_command_survives_a_shell() {
        assert_eq!(quote("a=http://a:1,b=http://b:2"), "a=http://a:1,b=http://b:2");
        assert_eq!(quote("/my dir/it's"), r"'/my dir/it'\''s'");
        assert_eq!(quote("http://[::1]:1"), "'http://[::1]:1'");
        assert_eq!(quote("$(x)"), "'$(x)'");
    }
}
