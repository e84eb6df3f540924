//! Ports that are free on this machine.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::Error;

/// Loopback URLs with ports that were free a moment ago, all different. Another process may take
/// one before it is used; whoever uses them must be ready for that.
///
/// # Errors
/// [`Error::System`] when the operating system gives none.
pub fn free_urls(count: usize) -> Result<Vec<String>, Error> {
    let failed = |source| Error::System { action: "cannot find a free port", source };
    // All are held until all are known, or the same port could be given twice.
    let listeners: Result<Vec<_>, _> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let listeners = listeners.map_err(failed)?;
    listeners
        .iter()
        .map(|listener| listener.local_addr().map(|at| format!("http://{at}")).map_err(failed))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_url_is_given_twice() {
        let urls = free_urls(20).unwrap();
        assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), 20);
    }
}
