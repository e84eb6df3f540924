//! Text as an endpoint.

use etcdr_node::ConnectOptions;

/// Parsing gives an answer, and no message contains a user's password.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = ConnectOptions::new(text).check() {
        let said = error.to_string();
        let secret = text.rsplit_once('@').map(|(user, _)| user).filter(|user| user.len() > 12);
        assert!(secret.is_none_or(|user| !said.contains(user)), "{said}");
    }
}
