//! Which hosts a route serves, and which host a request is for.

use std::{cmp::Reverse, fmt};

use http::{HeaderMap, Uri, header};

use super::Unclear;

/// Which hosts a route serves. Names are in lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host and no other.
    Exact(Box<str>),
    /// Every host whose name ends with this, which begins with a dot; written `*.example.com`. The host
    /// `example.com` itself is not one of them.
    Below(Box<str>),
}

impl HostPattern {
    /// Whether it serves `host`, in whatever case it is written.
    pub(super) fn serves(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => {
                let Some(at) = host.len().checked_sub(suffix.len()).filter(|at| *at > 0) else {
                    return false;
                };
                // Two slices of bytes: `host` need not have a character's boundary there.
                host.as_bytes()[at..].eq_ignore_ascii_case(suffix.as_bytes())
            }
        }
    }

    /// What it is sorted by, the most specific first: exact before wildcard, longer before shorter. Two wildcards
    /// of one length never serve the same host.
    pub(super) fn rank(&self) -> impl Ord {
        match self {
            Self::Exact(name) => (false, Reverse(name.len())),
            Self::Below(suffix) => (true, Reverse(suffix.len())),
        }
    }
}

/// As it is written in a config.
impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => formatter.write_str(name),
            Self::Below(suffix) => write!(formatter, "*{suffix}"),
        }
    }
}

/// The host that a request is for, without its port: that of the target where it names one (absolute form, HTTP/2),
/// else that of the `Host` header (RFC 9112, section 3.2). Empty where the request names none.
pub(super) fn host_of<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Result<&'r str, Unclear> {
    if let Some(host) = uri.host() {
        return plain(host);
    }
    let mut values = headers.get_all(header::HOST).iter();
    let Some(value) = values.next() else { return Ok("") };
    if values.next().is_some() {
        return Err(Unclear::Host);
    }
    let value = value.to_str().map_err(|_| Unclear::Host)?;
    let end = value.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match value[end..].find(':') {
        Some(colon) => (&value[..end + colon], &value[end + colon + 1..]),
        None => (value, ""),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unclear::Host);
    }
    plain(host)
}

/// `host` without the dot of the root, where it is nothing but a name or an address: what else some server might
/// find in it is not guessed.
fn plain(host: &str) -> Result<&str, Unclear> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let (name, is_address) = name.map_or((host, false), |name| (name, true));
    let known =
        |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte) || is_address && byte == b':';
    if name.bytes().all(known) { Ok(host) } else { Err(Unclear::Host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn a_wildcard_is_one_label_or_more_and_case_does_not_count() {
        let below = HostPattern::Below(".example.com".into());
        for (host, serves) in [
            ("a.example.com", true),
            ("a.b.EXAMPLE.com", true),
            ("example.com", false),
            (".example.com", false),
            ("aexample.com", false),
            ("a.example.com.org", false),
            ("", false),
            ("ö.com", false),
        ] {
            assert_eq!(below.serves(host), serves, "{host}");
        }
        let exact = HostPattern::Exact("example.com".into());
        assert!(exact.serves("Example.COM"));
        assert!(!exact.serves("a.example.com"));
    }

    #[test]
    fn the_target_goes_before_the_header_and_a_port_does_not_count() {
        let origin = Uri::from_static("/a");
        let absolute = Uri::from_static("http://target.example:8080/a");
        for (uri, hosts, host) in [
            (&origin, &["a.example"][..], "a.example"),
            (&origin, &["a.example:8080"], "a.example"),
            (&origin, &["a.example.:80"], "a.example"),
            (&origin, &["[::1]:80"], "[::1]"),
            (&origin, &["[::1]"], "[::1]"),
            (&origin, &[], ""),
            (&origin, &[""], ""),
            (&absolute, &["a.example"], "target.example"),
            (&absolute, &[], "target.example"),
        ] {
            assert_eq!(host_of(uri, &headers(hosts)), Ok(host), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn a_host_that_two_servers_might_read_differently_is_unclear() {
        let origin = Uri::from_static("/a");
        for hosts in [
            &["a.example", "b.example"][..],
            &["a.example", "a.example"],
            &["a.example, b.example"],
            &["me@a.example"],
            &["a.example/b"],
            &["a.example:x"],
            &["a.example:80:90"],
            &["[::1"],
            &["a:b]"],
            &["\u{f6}.example"],
        ] {
            assert_eq!(host_of(&origin, &headers(hosts)), Err(Unclear::Host), "{hosts:?}");
        }
    }
}
