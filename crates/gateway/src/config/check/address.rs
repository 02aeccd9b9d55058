//! Addresses: where to listen, and where the ledger is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{super::LedgerLocation, Finding};

/// Reads `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, or `:8080` for every IPv4 address.
pub(super) fn parse_socket(text: &str) -> Finding<SocketAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let next =
        || "write an address and a port, such as 127.0.0.1:8080, [::1]:8080, or :8080 for every address";
    if let Ok(port) = text.parse::<u16>() {
        return Err((
            format!("`{text}` is only a port"),
            format!("write 127.0.0.1:{port}, or :{port} for every address"),
        ));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err((format!("`{text}` has no port"), next().into()));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err((format!("`{text}` is not an address and a port"), next().into()));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err((format!("`{port}` is not a port: a number from 0 to 65535"), next().into()));
    };
    match host {
        "" | "*" => Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        "localhost" => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        _ => Err((format!("`{host}` is not an IP address of this machine"), next().into())),
    }
}

/// Reads `sqlite:PATH` or `postgres://…`. What is said of it never repeats it: there may be a password inside.
pub(super) fn parse_ledger(text: &str) -> Finding<LedgerLocation> {
    let text = text.trim();
    let next = "write sqlite:PATH, or postgres://user@host/database";
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path {
            "" => Err(("`ledger` has no path after sqlite:".into(), "write sqlite:steadfast.db".into())),
            ":memory:" => Err((
                "`ledger` in memory would forget every key with the process".into(),
                "name a file: sqlite:steadfast.db".into(),
            )),
            path => Ok(LedgerLocation::Sqlite(path.into())),
        };
    }
    if let Some(rest) = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        return match rest.trim_start_matches('/') {
            "" => Err(("`ledger` names no host or database".into(), next.into())),
            _ => Ok(LedgerLocation::Postgres(text.into())),
        };
    }
    let what = match text.split_once(':') {
        Some((scheme, _))
            if scheme.len() <= 16 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            format!("`ledger`: there is no ledger of the kind `{scheme}`")
        }
        _ => "`ledger` does not say of which kind it is".into(),
    };
    Err((what, next.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on() {
        for (text, address) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            (":8080", "0.0.0.0:8080"),
            ("*:1", "0.0.0.0:1"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::]:80", "[::]:80"),
        ] {
            assert_eq!(parse_socket(text).map(|address| address.to_string()).as_deref(), Ok(address));
        }
        for text in ["", "8080", "127.0.0.1", "::1", "example.org:80", "127.0.0.1:99999", ":", "::"] {
            assert!(parse_socket(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ledgers() {
        assert_eq!(parse_ledger("sqlite:a.db"), Ok(LedgerLocation::Sqlite("a.db".into())));
        assert_eq!(parse_ledger("sqlite:///a.db"), Ok(LedgerLocation::Sqlite("/a.db".into())));
        assert!(matches!(parse_ledger("postgres://me@db/x"), Ok(LedgerLocation::Postgres(_))));
        for text in ["", "a.db", "sqlite:", "sqlite::memory:", "mysql://a", "postgres://", "me:secret@db"] {
            let (what, _) = parse_ledger(text).expect_err(text);
            assert!(!what.contains("secret"), "{what}");
        }
    }
}
