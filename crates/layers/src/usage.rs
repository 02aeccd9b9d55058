//! Who still calls which version of an API: a table in memory, bounded, that outlives a reload. It is where names of
//! callers are counted; metrics hold none.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Request;
use steadfast_core::{CredentialDigest, Timestamp};

use crate::{IdentityPolicy, Principal, VersionTally};

/// How many principals are told apart for each version. The rest are counted together.
const PRINCIPALS_MAX: usize = 10_000;

/// The same of credentials that nobody verified: anybody can make up more of them.
const CREDENTIALS_MAX: usize = 1_000;

/// How many bytes a principal's name has at most, to be told apart.
const NAME_BYTES_MAX: usize = 256;

/// How many parts a version's callers are divided into, so that two requests seldom meet at one lock.
const SHARDS: usize = 16;

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionCaller {
    /// A principal that was verified.
    Principal(Box<str>),
    /// The holder of an unverified credential, by its digest.
    Credential([u8; 16]),
    /// Somebody who showed none.
    Anonymous,
    /// All those for whom there was no room any more.
    Others,
}

/// What one caller did with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// How many requests there were.
    pub requests: u64,
    /// How many of them were refused, in a brownout or after the version's end.
    pub refused: u64,
    /// When the first one came.
    pub first: Timestamp,
    /// When the last one came.
    pub last: Timestamp,
}

impl Used {
    fn note(known: Option<&mut Self>, now: Timestamp, is_refused: bool) -> Self {
        let refused = u64::from(is_refused);
        let Some(used) = known else { return Self { requests: 1, refused, first: now, last: now } };
        used.requests += 1;
        used.refused += refused;
        used.first = used.first.min(now);
        used.last = used.last.max(now);
        *used
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// The version's name.
    pub version: Arc<str>,
    /// Who called it.
    pub caller: VersionCaller,
    /// How, and when.
    pub used: Used,
}

/// The usage of every version that was ever configured in this process.
#[derive(Debug, Default)]
pub struct UsageTable {
    versions: Mutex<BTreeMap<Arc<str>, Arc<VersionUsage>>>,
}

impl UsageTable {
    /// The usage of the version with this name, which counts into `tally` as well.
    #[must_use]
    pub fn version(&self, name: &Arc<str>, tally: &Arc<VersionTally>) -> Arc<VersionUsage> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(VersionUsage::new(Arc::clone(name), Arc::clone(tally)));
        Arc::clone(versions.entry(Arc::clone(name)).or_insert_with(new))
    }

    /// Every line, by version; of each the busiest callers first.
    #[must_use]
    pub fn lines(&self) -> Vec<UsageLine> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let versions: Vec<_> = versions.values().cloned().collect();
        versions.iter().flat_map(|version| version.lines()).collect()
    }
}

/// The usage of one version.
#[derive(Debug)]
pub struct VersionUsage {
    name: Arc<str>,
    /// What is counted of it without names.
    pub(crate) tally: Arc<VersionTally>,
    hasher: RandomState,
    shards: [Mutex<Callers>; SHARDS],
    principals: AtomicUsize,
    credentials: AtomicUsize,
}

#[derive(Debug, Default)]
struct Callers {
    principals: HashMap<Box<str>, Used>,
    credentials: HashMap<[u8; 16], Used>,
    anonymous: Option<Used>,
    others: Option<Used>,
}

impl VersionUsage {
    fn new(name: Arc<str>, tally: Arc<VersionTally>) -> Self {
        Self {
            name,
            tally,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            principals: AtomicUsize::new(0),
            credentials: AtomicUsize::new(0),
        }
    }

    /// Counts `request`.
    pub fn note<B>(&self, request: &Request<B>, identity: &IdentityPolicy, now: Timestamp, is_refused: bool) {
        self.tally.requests.add();
        let principal = request.extensions().get::<Principal>().filter(|who| !who.name().is_empty());
        if let Some(principal) = principal {
            self.note_principal(principal.name(), now, is_refused);
        } else if let Some(credential) = identity.credential(request.headers()) {
            self.note_credential(&credential, now, is_refused);
        } else {
            let mut shard = self.shard(0);
            shard.anonymous = Some(Used::note(shard.anonymous.as_mut(), now, is_refused));
        }
    }

    fn note_principal(&self, name: &str, now: Timestamp, is_refused: bool) {
        let mut shard = self.shard(self.hasher.hash_one(name));
        if let Some(used) = shard.principals.get_mut(name) {
            Used::note(Some(used), now, is_refused);
        } else if name.len() <= NAME_BYTES_MAX && take_place(&self.principals, PRINCIPALS_MAX) {
            shard.principals.insert(name.into(), Used::note(None, now, is_refused));
        } else {
            shard.others = Some(Used::note(shard.others.as_mut(), now, is_refused));
        }
    }

    fn note_credential(&self, credential: &CredentialDigest, now: Timestamp, is_refused: bool) {
        let digest = credential.as_bytes();
        let mut shard = self.shard(self.hasher.hash_one(digest));
        if let Some(used) = shard.credentials.get_mut(digest) {
            Used::note(Some(used), now, is_refused);
        } else if take_place(&self.credentials, CREDENTIALS_MAX) {
            shard.credentials.insert(*digest, Used::note(None, now, is_refused));
        } else {
            shard.others = Some(Used::note(shard.others.as_mut(), now, is_refused));
        }
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Callers> {
        // The remainder is below a handful.
        let shard = &self.shards[(hash % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> Vec<UsageLine> {
        let mut lines: Vec<(VersionCaller, Used)> = Vec::new();
        let mut others: Option<Used> = None;
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let principals = shard.principals.iter();
            lines.extend(principals.map(|(name, used)| (VersionCaller::Principal(name.clone()), *used)));
            let credentials = shard.credentials.iter();
            lines.extend(credentials.map(|(digest, used)| (VersionCaller::Credential(*digest), *used)));
            lines.extend(shard.anonymous.map(|used| (VersionCaller::Anonymous, used)));
            others = match (others, shard.others) {
                (Some(one), Some(two)) => Some(Used {
                    requests: one.requests + two.requests,
                    refused: one.refused + two.refused,
                    first: one.first.min(two.first),
                    last: one.last.max(two.last),
                }),
                (one, two) => one.or(two),
            };
        }
        lines.extend(others.map(|used| (VersionCaller::Others, used)));
        lines.sort_by(|(one, used), (other, others)| {
            others.requests.cmp(&used.requests).then_with(|| one.cmp(other))
        });
        let line = |(caller, used)| UsageLine { version: Arc::clone(&self.name), caller, used };
        lines.into_iter().map(line).collect()
    }
}

/// Takes one of `max` places, if one is left. Nobody gives one back.
fn take_place(taken: &AtomicUsize, max: usize) -> bool {
    let next = |taken: usize| (taken < max).then_some(taken + 1);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(principal: Option<&str>, credential: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        if let Some(principal) = principal {
            request.extensions_mut().insert(Principal::named(principal));
        }
        if let Some(credential) = credential {
            request.headers_mut().insert(http::header::AUTHORIZATION, credential.parse().expect("a value"));
        }
        request
    }

    fn usage() -> (UsageTable, Arc<VersionUsage>) {
        let table = UsageTable::default();
        let usage = table.version(&"v1".into(), &Arc::default());
        (table, usage)
    }

    #[test]
    fn callers_are_known_by_their_principal_else_by_their_credential() {
        let (table, usage) = usage();
        let identity = IdentityPolicy::default();
        let note = |principal, credential, at, refused| {
            let now = Timestamp::from_millis(at);
            usage.note(&request(principal, credential), &identity, now, refused);
        };
        note(Some("ada"), Some("Bearer 1"), 10, false);
        note(Some("ada"), Some("Bearer 2"), 30, true);
        note(Some("ada"), None, 20, false);
        note(Some("bob"), None, 5, false);
        note(None, Some("Bearer 3"), 6, false);
        note(Some(""), Some("Bearer 3"), 7, false);
        note(None, None, 8, false);
        let lines = table.lines();
        let found: Vec<_> = lines.iter().map(|line| (&line.caller, line.used.requests)).collect();
        let digest = *identity.credential(request(None, Some("Bearer 3")).headers()).expect("one").as_bytes();
        assert_eq!(
            found,
            [
                (&VersionCaller::Principal("ada".into()), 3),
                (&VersionCaller::Credential(digest), 2),
                (&VersionCaller::Principal("bob".into()), 1),
                (&VersionCaller::Anonymous, 1),
            ]
        );
        let ada = lines[0].used;
        assert_eq!((ada.refused, ada.first.as_millis(), ada.last.as_millis()), (1, 10, 30));
        assert_eq!(usage.tally.requests.get(), 7);
    }

    #[test]
    fn what_finds_no_room_is_counted_together_and_never_lost() {
        let (table, usage) = usage();
        let identity = IdentityPolicy::default();
        let now = Timestamp::from_millis(1);
        for number in 0..CREDENTIALS_MAX + 50 {
            usage.note(&request(None, Some(&format!("Bearer {number}"))), &identity, now, false);
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        usage.note(&request(Some(&long), None), &identity, now, true);
        usage.note(&request(Some("ada"), None), &identity, now, false);
        let lines = table.lines();
        assert_eq!(lines.len(), CREDENTIALS_MAX + 2);
        let others: Vec<_> = lines.iter().filter(|line| line.caller == VersionCaller::Others).collect();
        assert_eq!(others.len(), 1);
        assert_eq!((others[0].used.requests, others[0].used.refused), (51, 1));
        let all: u64 = lines.iter().map(|line| line.used.requests).sum();
        assert_eq!(all, usage.tally.requests.get());
        assert!(lines.iter().any(|line| line.caller == VersionCaller::Principal("ada".into())));
    }

    #[test]
    fn a_version_goes_on_with_what_was_counted_of_it() {
        let (table, usage) = usage();
        let identity = IdentityPolicy::default();
        usage.note(&request(Some("ada"), None), &identity, Timestamp::from_millis(1), false);
        let again = table.version(&"v1".into(), &Arc::default());
        again.note(&request(Some("ada"), None), &identity, Timestamp::from_millis(2), false);
        assert_eq!(table.lines()[0].used.requests, 2);
    }
}
