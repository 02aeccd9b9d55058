//! The fields that a caller says are its connection's alone (RFC 9110, section 7.6.1). They are dropped before the gateway
//! adds any of its own: whoever lists `X-Forwarded-For`, or the field of the key, would otherwise take away what the
//! upstream is told.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What `Connection` says that is no field to drop here: it is read when the request is passed on.
const OPTIONS: [&str; 5] = ["close", "keep-alive", "upgrade", "te", "transfer-encoding"];

/// Drops the fields that `Connection` lists, and says no more in it than what the gateway reads of it.
pub(crate) fn drop_listed(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let said = lines.flat_map(|line| line.split(',')).map(str::trim);
    let is_option = |token: &&str| OPTIONS.iter().any(|option| token.eq_ignore_ascii_case(option));
    let (options, listed): (Vec<&str>, Vec<&str>) =
        said.filter(|token| !token.is_empty()).partition(is_option);
    if listed.is_empty() {
        return;
    }
    let options = HeaderValue::from_str(&options.join(", ")).ok().filter(|options| !options.is_empty());
    let listed: Vec<HeaderName> = listed.iter().filter_map(|name| name.parse().ok()).collect();
    for name in listed {
        // What frames or routes the message is not the sender's to remove.
        if name != header::CONTENT_LENGTH && name != header::HOST {
            headers.remove(name);
        }
    }
    match options {
        Some(options) => drop(headers.insert(header::CONNECTION, options)),
        None => drop(headers.remove(header::CONNECTION)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_goes_and_what_is_read_later_stays() {
        for (said, connection, left) in [
            (&["keep-alive"][..], Some("keep-alive"), &["host", "x-a", "x-b"][..]),
            (&["X-A"], None, &["host", "x-b"]),
            (&["keep-alive, Steadfast-Principal", "x_user"], Some("keep-alive"), &["host", "x-a", "x-b"]),
            (&["Upgrade, x-a", "X-B , close"], Some("Upgrade, close"), &["host"]),
            (&["host, content-length, x-c"], None, &["host", "x-a", "x-b"]),
            (&["a b, , x-a"], None, &["host", "x-b"]),
            (&["connection, x-a, te"], Some("te"), &["host", "x-b"]),
        ] {
            let mut headers = HeaderMap::new();
            for name in ["host", "x-a", "x-b"] {
                headers.insert(name, HeaderValue::from_static("1"));
            }
            for line in said {
                headers.append(header::CONNECTION, line.parse().expect("a value"));
            }
            drop_listed(&mut headers);
            let said_now = headers.remove(header::CONNECTION);
            assert_eq!(
                said_now.as_ref().map(HeaderValue::as_bytes),
                connection.map(str::as_bytes),
                "{said:?}"
            );
            let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, left, "{said:?}");
        }
    }
}
