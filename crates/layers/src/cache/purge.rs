//! What is to be forgotten: by URL, by the beginning of one, by tag, or everything.

use super::{
    entry::Entry,
    key::{Key, lowercase},
};

/// Which kept answers are to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// All answers of this URL: `https://api.example.com/orders?page=1`, whatever the scheme, or `/orders?page=1` of
    /// every host.
    Url(String),
    /// All answers of URLs that begin with this, written likewise.
    Prefix(String),
    /// All answers with this tag.
    Tag(String),
    /// All answers.
    All,
}

impl Purge {
    /// Whether `entry`, which is one of `key`, is to be forgotten.
    pub(super) fn names(&self, key: &Key, entry: &Entry) -> bool {
        match self {
            Self::Url(url) => {
                let (host, target) = parts(url);
                host.is_none_or(|host| lowercase(host) == key.host()) && target == key.target()
            }
            Self::Prefix(prefix) => {
                let (host, target) = parts(prefix);
                match host {
                    None => key.target().starts_with(target),
                    // Without a path the host itself may go on.
                    Some(host) if target.is_empty() => key.host().starts_with(&*lowercase(host)),
                    Some(host) => lowercase(host) == key.host() && key.target().starts_with(target),
                }
            }
            Self::Tag(tag) => entry.tags.iter().any(|known| **known == **tag),
            Self::All => true,
        }
    }
}

/// The host of a URL, where it names one, and its path and query.
fn parts(url: &str) -> (Option<&str>, &str) {
    match url.split_once("://") {
        None => (None, url),
        Some((_, rest)) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
    }
}
