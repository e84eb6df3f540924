//! Makes the socket on which the admin interface listens.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcdr_schemas::config::AdminConfig;
use tokio::net::{TcpListener, UnixListener};

use super::Error;
use super::tls::Certificates;

/// A socket that is listened on. The file of a Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    address: String,
    pub(super) socket: Socket,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix { listener: UnixListener, path: PathBuf, inode: u64 },
    Tcp { listener: TcpListener, certificates: Arc<Certificates> },
}

impl Listener {
    /// Listens as configured; `None` when the interface is turned off. Must be called inside a
    /// runtime.
    ///
    /// # Errors
    /// [`Error::Address`] for an address that is none, or TCP without all three files;
    /// [`Error::InUse`] when an agent answers on the socket; [`Error::File`] and [`Error::Listen`].
    pub fn bind(config: &AdminConfig) -> Result<Option<Self>, Error> {
        let address = config.listen.clone();
        let socket = match address.strip_prefix("unix://") {
            _ if address.is_empty() => return Ok(None),
            Some(path) => bind_unix(Path::new(path), &address)?,
            None => bind_tcp(config, &address)?,
        };
        let address = match &socket {
            Socket::Unix { .. } => address,
            Socket::Tcp { listener, .. } => {
                listener.local_addr().map_or(address, |at| at.to_string())
            }
        };
        Ok(Some(Self { address, socket }))
    }

    /// Where it listens: `unix:///path`, or host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, inode, .. } = &self.socket
            && fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            // Nobody is left to report a failure to; the next agent finds that no one answers on
            // it.
            let _ = fs::remove_file(path);
        }
    }
}

fn bind_unix(path: &Path, address: &str) -> Result<Socket, Error> {
    let file = |source: io::Error| Error::File { path: path.to_owned(), source };
    if !path.is_absolute() {
        let reason = "the path must be absolute".to_owned();
        return Err(Error::Address { address: address.to_owned(), reason });
    }
    make_way(path)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(file)?;
    // Made in a directory that nobody else may enter, and moved when its mode is right: there is no
    // moment at which another user could have connected.
    let private = parent.join(format!(".e{}", std::process::id()));
    let _ = fs::remove_dir_all(&private);
    fs::DirBuilder::new().mode(0o700).create(&private).map_err(file)?;
    let bound = bind_in(&private, path);
    let _ = fs::remove_dir_all(&private);
    let (listener, inode) = bound.map_err(file)?;
    Ok(Socket::Unix { listener, path: path.to_owned(), inode })
}

fn bind_in(private: &Path, path: &Path) -> io::Result<(UnixListener, u64)> {
    let made = private.join("s");
    let listener = unix::UnixListener::bind(&made)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
    let inode = fs::symlink_metadata(&made)?.ino();
    fs::rename(&made, path)?;
    Ok((UnixListener::from_std(listener)?, inode))
}

/// What is at the path already may be replaced only if it is a socket on which nobody answers.
fn make_way(path: &Path) -> Result<(), Error> {
    let file = |source: io::Error| Error::File { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file(error)),
        Ok(found) if !found.file_type().is_socket() => {
            Err(file(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no socket")))
        }
        Ok(_) => match unix::UnixStream::connect(path) {
            Ok(_) => Err(Error::InUse { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(file(error)),
        },
    }
}

fn bind_tcp(config: &AdminConfig, address: &str) -> Result<Socket, Error> {
    let bad =
        |reason: &str| Error::Address { address: address.to_owned(), reason: reason.to_owned() };
    let (Some(cacert), Some(cert), Some(key)) = (&config.cacert, &config.cert, &config.key) else {
        return Err(bad(
            "TCP needs cacert, cert and key: whoever connects must show a certificate",
        ));
    };
    let at: SocketAddr = address.parse().map_err(|_| bad("it is no IP address and port"))?;
    let certificates = Certificates::load([cacert, cert, key].map(PathBuf::from), address)?;
    let listen =
        |error: io::Error| Error::Listen { address: address.to_owned(), reason: error.to_string() };
    let listener = std::net::TcpListener::bind(at).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let listener = TcpListener::from_std(listener).map_err(listen)?;
    Ok(Socket::Tcp { listener, certificates: Arc::new(certificates) })
}
