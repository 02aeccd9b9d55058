//! The other ways in which a server may read a path.
//!
//! Routes are found by the path as it was sent. The upstream gets it as it was sent, too, and may decode what is
//! percent-encoded, take two slashes for one, or leave out what follows a `;`. A path that would then be another
//! route's must not go by this one's policy.

use std::borrow::Cow;

/// Whether everybody reads `path` alike. Nearly every path is so, and this is all that it is asked.
pub(super) fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let odd = matches!(byte, b'%' | b'\\' | b';') || before == b'/' && matches!(byte, b'/' | b'.');
        before = byte;
        !odd
    })
}

/// Whether a segment of `path` is `.` or `..`, however it is written.
pub(crate) fn has_dot_segment(path: &str) -> bool {
    let path = decoded(path, Slashes::Decoded);
    path.split(['/', '\\']).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// What else `path` may be read as, each once; at most eleven.
pub(crate) fn others(path: &str) -> Vec<String> {
    let escapes: [fn(&str) -> Cow<'_, str>; 3] =
        [|path| path.into(), |path| decoded(path, Slashes::Kept), |path| decoded(path, Slashes::Decoded)];
    let mut others: Vec<String> = Vec::new();
    for unescape in escapes {
        let unescaped = unescape(path).into_owned();
        for bare in [without_parameters(&unescaped), unescaped] {
            for reading in [with_single_slashes(&bare), bare] {
                if reading != path && !others.contains(&reading) {
                    others.push(reading);
                }
            }
        }
    }
    others
}

/// Whether an encoded slash is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slashes {
    Kept,
    Decoded,
}

/// `path` with everything decoded that need not be encoded within a segment (RFC 3986, section 3.3), and the other
/// escapes in capitals. Once: what a second decoding would find is no server's plain reading.
fn decoded(path: &str, slashes: Slashes) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut read = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        read.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3);
        let byte = escape.and_then(|escape| u8::from_str_radix(&escape[1..], 16).ok());
        let (Some(escape), Some(byte)) = (escape.filter(|escape| !escape.contains('+')), byte) else {
            read.push('%');
            rest = &rest[at + 1..];
            continue;
        };
        let is_slash = matches!(byte, b'/' | b'\\');
        match byte {
            b'/' | b'\\' if slashes == Slashes::Decoded => read.push('/'),
            _ if need_not_be_encoded(byte) && !is_slash => read.push(char::from(byte)),
            _ => read.push_str(&escape.to_ascii_uppercase()),
        }
        rest = &rest[at + 3..];
    }
    read.push_str(rest);
    read.into()
}

/// The characters that a segment may hold as they are, but for `*`, which has a meaning in patterns.
fn need_not_be_encoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte)
}

/// `path` without the parameters of its segments: `/a;b=c/d` is `/a/d` to servers of Java.
fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> =
        path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    segments.join("/")
}

fn with_single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    single
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_has_no_other_reading() {
        for path in ["/", "/a", "/a/b.c/", "/a.b/~c", "/a:b@c,d=e", "*", ""] {
            assert!(is_plain(path), "{path}");
            assert_eq!(others(path), Vec::<String>::new(), "{path}");
            assert!(!has_dot_segment(path), "{path}");
        }
        for path in ["/a%20b", "//", "/a//b", "/a;b", "/.a", "/a/.", "/..", "/a\\b"] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_seen_however_they_are_written() {
        for path in [
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/..;/a",
            "/..;a=b/c",
            "/a%2f..%2fb",
            "/a%2F%2e%2E/b",
            "/a\\..\\b",
            "/a%5c..%5Cb",
            "/%2e%2e%3bx/a",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in
            ["/...", "/.well-known/x", "/a..", "/..a", "/a.b", "/%2e%2e%2e", "/%252e", "/%", "/%2", "/%zz"]
        {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn every_other_reading_is_found() {
        for (path, expected) in [
            ("/%70ay", &["/pay"][..]),
            ("/a%2Fb", &["/a/b"]),
            ("/a%2fb", &["/a%2Fb", "/a/b"]),
            ("/a%5Cb", &["/a/b"]),
            ("/a//b", &["/a/b"]),
            ("///a", &["/a"]),
            ("/a;b/c", &["/a/c"]),
            ("/;x/a", &["/a", "//a"]),
            ("/caf%C3%A9", &[]),
            ("/caf%c3%a9", &["/caf%C3%A9"]),
            ("/a%20b%3Fc", &[]),
            ("/100%", &[]),
            ("/%+1", &[]),
            ("/%7", &[]),
        ] {
            assert_eq!(others(path), expected, "{path}");
        }
        let mixed = others("/%61//b%2F%2Fc;d");
        for reading in ["/%61/b%2F%2Fc;d", "/a//b%2F%2Fc;d", "/a//b//c", "/a/b/c", "/%61//b%2F%2Fc"] {
            assert!(mixed.iter().any(|other| other == reading), "{reading} of {mixed:?}");
        }
        assert!(mixed.len() <= 11);
    }

    #[test]
    fn no_text_makes_it_panic() {
        for path in ["/%ö", "/%2ö", "/ö%", "/%é0", "/\u{fffd}%2f;"] {
            others(path);
            has_dot_segment(path);
        }
    }
}
