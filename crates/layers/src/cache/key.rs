//! The name of a target in the cache: the space of its route, its host, its path and its query.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::{HeaderMap, Uri, header};
use quick_cache::Equivalent;

use super::policy::CachePolicy;

/// The name of a target, to keep.
#[derive(Clone, Debug)]
pub(super) struct Key(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    space: Arc<str>,
    host: Box<str>,
    target: Box<str>,
}

/// The same, borrowed from a request.
#[derive(Clone, Debug)]
pub(super) struct KeyRef<'a> {
    space: &'a Arc<str>,
    /// In small letters.
    host: Cow<'a, str>,
    /// Path and query.
    target: Cow<'a, str>,
}

impl<'a> KeyRef<'a> {
    /// What a request asks for; `None` where that has no name: no host, or no path.
    pub(super) fn of(policy: &'a CachePolicy, uri: &'a Uri, headers: &'a HeaderMap) -> Option<Self> {
        let host = match headers.get(header::HOST) {
            Some(host) => host.to_str().ok()?,
            None => uri.authority()?.as_str(),
        };
        Some(Self::at(policy, host, uri.path_and_query()?.as_str()))
    }

    /// A target of this host.
    pub(super) fn at(policy: &'a CachePolicy, host: &'a str, target: &'a str) -> Self {
        Self { space: &policy.space, host: lowercase(host), target: without(&policy.ignore_query, target) }
    }

    pub(super) fn to_key(&self) -> Key {
        Key(Arc::new(Owned {
            space: Arc::clone(self.space),
            host: self.host.as_ref().into(),
            target: self.target.as_ref().into(),
        }))
    }
}

impl Key {
    pub(super) fn host(&self) -> &str {
        &self.0.host
    }

    pub(super) fn target(&self) -> &str {
        &self.0.target
    }

    /// How many bytes it takes up, about.
    pub(super) fn bytes(&self) -> usize {
        64 + self.0.host.len() + self.0.target.len()
    }

    fn parts(&self) -> (&str, &str, &str) {
        (&self.0.space, &self.0.host, &self.0.target)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.host(), self.target(), state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.host, &self.target, state);
    }
}

/// Without the space, of which a target has few: nobody who calls can choose one. In two pieces, for each costs as much as
/// what is in it: a host ends where a target begins, with a slash.
fn hash<H: Hasher>(host: &str, target: &str, state: &mut H) {
    state.write(host.as_bytes());
    state.write(target.as_bytes());
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (&**self.space, &*self.host, &*self.target) == key.parts()
    }
}

/// Hosts are nearly always in small letters.
pub(super) fn lowercase(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The target without these parameters.
fn without<'a>(ignored: &[String], target: &'a str) -> Cow<'a, str> {
    let Some((path, query)) = target.split_once('?').filter(|_| !ignored.is_empty()) else {
        return Cow::Borrowed(target);
    };
    let is_ignored = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        ignored.iter().any(|ignored| ignored == name)
    };
    if !query.split('&').any(is_ignored) {
        return Cow::Borrowed(target);
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_ignored(pair)).collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    Cow::Owned(format!("{path}{mark}{}", kept.join("&")))
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn a_borrowed_key_finds_the_kept_one() {
        let policy = CachePolicy { ignore_query: vec!["utm".into()], ..CachePolicy::default() };
        let hasher = RandomState::new();
        let key = KeyRef::at(&policy, "A.example", "/x?a=1").to_key();
        let same = KeyRef::at(&policy, "a.example", "/x?utm=9&a=1");
        assert!(same.equivalent(&key) && hasher.hash_one(&same) == hasher.hash_one(&key));
        for (host, target) in [("b.example", "/x?a=1"), ("a.example", "/x?a=2"), ("a.example", "/X?a=1")] {
            assert!(!KeyRef::at(&policy, host, target).equivalent(&key), "{host}{target}");
        }
        let elsewhere = CachePolicy { space: "other".into(), ..CachePolicy::default() };
        assert!(!KeyRef::at(&elsewhere, "a.example", "/x?a=1").equivalent(&key));
    }

    #[test]
    fn parameters_that_mean_nothing_are_left_out() {
        let ignored = ["utm".to_owned(), "gclid".to_owned()];
        for (target, expected) in [
            ("/x?utm=1", "/x"),
            ("/x?a=1&utm=1&b", "/x?a=1&b"),
            ("/x?utms=1", "/x?utms=1"),
            ("/x?utm", "/x"),
            ("/x", "/x"),
        ] {
            assert_eq!(without(&ignored, target), expected);
        }
    }
}
