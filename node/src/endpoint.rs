//! What an endpoint's text means: where to connect, and whether TLS is spoken there.

use std::path::PathBuf;

use tonic::codegen::http::Uri;

use crate::error::Error;

/// A parsed endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The text that the user gave, for messages.
    pub(crate) label: String,
    /// `http` or `https`, with the host that TLS verifies. Made up for sockets.
    pub(crate) uri: Uri,
    /// The socket file, for `unix` and `unixs`.
    pub(crate) socket: Option<PathBuf>,
}

impl Target {
    /// Parses an endpoint as etcd spells it. `tls_files` decides what an endpoint without a scheme
    /// means.
    pub(crate) fn parse(text: &str, tls_files: bool) -> Result<Self, Error> {
        let text = text.trim();
        refuse_users_and_lists(text)?;
        let Some((scheme, rest)) = split_scheme(text) else {
            return Self::over_tcp(text, if tls_files { "https" } else { "http" }, text, true);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => Self::over_tcp(text, "http", rest, false),
            "https" => Self::over_tcp(text, "https", rest, false),
            "unix" => Self::over_socket(text, "http", rest),
            "unixs" => Self::over_socket(text, "https", rest),
            _ => Err(invalid(text, "has a scheme other than http, https, unix and unixs")),
        }
    }

    /// Whether TLS is spoken there.
    pub(crate) fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Host, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or("localhost");
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Port, or the default one of the scheme.
    pub(crate) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    fn over_tcp(text: &str, scheme: &str, rest: &str, need_port: bool) -> Result<Self, Error> {
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#']) {
            return Err(invalid(text, "is not HOST:PORT"));
        }
        let uri: Uri = format!("{scheme}://{authority}/")
            .parse()
            .map_err(|_| invalid(text, "is not HOST:PORT"))?;
        if need_port && uri.port_u16().is_none() {
            return Err(invalid(text, "names no port; etcd listens for clients at 2379"));
        }
        Ok(Self { label: text.to_owned(), uri, socket: None })
    }

    /// `unix:///run/etcd.sock` names a path; `unix://localhost:2379` a file of the name
    /// `localhost:2379` in the working directory, since etcd joins host and path of the URL.
    fn over_socket(text: &str, scheme: &str, rest: &str) -> Result<Self, Error> {
        if rest.is_empty() || rest == "/" {
            return Err(invalid(text, "names no socket file"));
        }
        let host = rest.split(['/', ':']).next().filter(|host| !host.is_empty());
        let uri = [host.unwrap_or("localhost"), "localhost"]
            .iter()
            .find_map(|host| format!("{scheme}://{host}/").parse::<Uri>().ok())
            .ok_or_else(|| invalid(text, "names no socket file"))?;
        Ok(Self { label: text.to_owned(), uri, socket: Some(PathBuf::from(rest)) })
    }
}

/// `scheme://rest`, and gRPC's `unix:path`. `localhost:2379` has no scheme.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    text.split_once("://").or_else(|| {
        let (scheme, rest) = text.split_once(':')?;
        matches!(scheme, "unix" | "unixs").then_some((scheme, rest))
    })
}

fn refuse_users_and_lists(text: &str) -> Result<(), Error> {
    if text.contains('@') {
        // The text is not repeated: what stands before the @ may be a password.
        let what = "an endpoint cannot carry a user; use --user".to_owned();
        return Err(Error::Config { what });
    }
    if text.contains(',') {
        return Err(invalid(text, "is a list, where one endpoint is expected"));
    }
    Ok(())
}

fn invalid(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(200).collect();
    Error::Config { what: format!("endpoint {shown:?} {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_mean_what_etcd_means() {
        let check = |text: &str, tls: bool, uri: &str, socket: Option<&str>| {
            let target = Target::parse(text, tls).unwrap();
            assert_eq!(target.uri.to_string(), uri, "{text}");
            assert_eq!(target.socket, socket.map(PathBuf::from), "{text}");
        };
        check("127.0.0.1:2379", false, "http://127.0.0.1:2379/", None);
        check("127.0.0.1:2379", true, "https://127.0.0.1:2379/", None);
        check("http://a:1", true, "http://a:1/", None);
        check("HTTPS://a:1/", false, "https://a:1/", None);
        check("https://etcd.example.com", false, "https://etcd.example.com/", None);
        check("[::1]:2379", false, "http://[::1]:2379/", None);
        check("unix:///run/etcd.sock", false, "http://localhost/", Some("/run/etcd.sock"));
        check("unix:etcd.sock", false, "http://etcd.sock/", Some("etcd.sock"));
        check("unix://localhost:2379", false, "http://localhost/", Some("localhost:2379"));
        check("unixs://db:2379", false, "https://db/", Some("db:2379"));
    }

    #[test]
    fn what_is_not_one_endpoint_is_refused() {
        let cases = [
            "",
            "localhost",
            "http://",
            "a:1,b:2",
            "ftp://a:1",
            "http://a:1/v3",
            "a:99999999",
            "unix://",
            "http://root:hush@a:1",
            "http://a b:1",
        ];
        for text in cases {
            let error = Target::parse(text, false).unwrap_err();
            assert!(matches!(error, Error::Config { .. }), "{text}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
