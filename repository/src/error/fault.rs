//! Whose fault a store's error is.

use std::io;

/// Whose fault a store's error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFault {
    /// The bucket, container or object is not there.
    Missing,
    /// The credentials do not allow it.
    Denied,
    /// It exists already.
    Exists,
    /// The disk or quota is full.
    Full,
    /// The store cannot do this.
    Unsupported,
    /// Unreachable, overloaded, broken off: worth another try.
    Unavailable,
}

impl std::fmt::Display for StoreFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "not found",
            Self::Denied => "permission denied",
            Self::Exists => "exists already",
            Self::Full => "no space left",
            Self::Unsupported => "not supported by the store",
            Self::Unavailable => "the store failed",
        })
    }
}

impl StoreFault {
    /// Sorts a store's error.
    #[must_use]
    pub fn of(error: &object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Self::Missing,
            E::AlreadyExists { .. } | E::Precondition { .. } => Self::Exists,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Denied,
            E::NotSupported { .. } | E::NotImplemented { .. } => Self::Unsupported,
            other => Self::of_io(other),
        }
    }

    /// Local disks report through an `io::Error` somewhere down the chain.
    fn of_io(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(link) = cause {
            match link.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    return Self::Full;
                }
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    return Self::Denied;
                }
                _ => cause = link.source(),
            }
        }
        Self::of_text(&error.to_string())
    }

    /// An S3 server that deletes many objects in one request says of each what kept it, in the
    /// answer's text only.
    fn of_text(text: &str) -> Self {
        let kept = ["(code: AccessDenied)", "(code: ObjectLocked)", "WORM protected"];
        match kept.iter().any(|word| text.contains(word)) {
            true => Self::Denied,
            false => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> StoreFault {
        StoreFault::of(&object_store::Error::Generic { store: "S3", source: text.into() })
    }

    #[test]
    fn an_object_that_is_kept_is_not_a_store_that_fails() {
        let kept = "DeleteObjects request failed for key a: Access Denied. (code: AccessDenied)";
        assert_eq!(said(kept), StoreFault::Denied);
        assert_eq!(said("Object is WORM protected and cannot be overwritten"), StoreFault::Denied);
        assert_eq!(said("DeleteObjects failed: (code: InternalError)"), StoreFault::Unavailable);
    }
}
