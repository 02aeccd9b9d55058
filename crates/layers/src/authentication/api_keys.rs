//! API keys: checked against what this process has in memory of the ledger's credentials. Nothing is asked meanwhile, so
//! a store that is lost locks nobody out; what changes in it is known here as soon as it is followed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use steadfast_core::{ApiKeyDigest, CredentialId, Timestamp, check_api_key, has_key_prefix};
use steadfast_ledger::{CredentialRecord, Credentials, ENDED_KEPT, LedgerError, Revision};
use tokio::{sync::watch, time::timeout};

use super::{
    authenticator::Verdict,
    known::{Known, NamedAs},
};
use crate::PrincipalFacts;

/// How coarsely it is noted when a key was used: so rarely is a line of memory written that all cores read.
const USED_COARSELY_MS: i64 = 60_000;

/// How long a request waits for the keys to be read for the first time.
const FIRST_READ_MAX: Duration = Duration::from_secs(5);

/// Keys that the gateway gave out, with one prefix.
#[derive(Debug)]
pub struct ApiKeys {
    prefix: Box<str>,
    ring: Arc<KeyRing>,
}

impl ApiKeys {
    /// The keys on this ring.
    #[must_use]
    pub fn new(ring: Arc<KeyRing>) -> Self {
        Self { prefix: ring.prefix.clone(), ring }
    }

    /// What a key is good for; `None` where the keys were not read yet.
    pub(super) fn check(&self, token: &[u8], now: Timestamp) -> Option<Verdict> {
        if !has_key_prefix(&self.prefix, token) {
            return Some(Verdict::NotMine);
        }
        let keys = self.ring.keys.load();
        let keys = keys.as_ref()?;
        // The whole of it is digested first: whatever is wrong with a key, finding out takes the same work.
        let digest = ApiKeyDigest::of(token);
        let found = keys.by_head.get(&digest.head()).filter(|key| key.digest == digest);
        Some(match found {
            None => self.unknown(token),
            Some(key) => key.verdict(now),
        })
    }

    /// What a key is good for, once the keys were read.
    pub(super) async fn check_when_loaded(&self, token: &[u8], now: Timestamp) -> Verdict {
        let mut loaded = self.ring.loaded.subscribe();
        // The sender lives as long as the ring.
        let _ = timeout(FIRST_READ_MAX, loaded.wait_for(|loaded| *loaded)).await;
        self.check(token, now)
            .unwrap_or(Verdict::Unavailable("The ledger has not told yet which keys are valid."))
    }

    fn unknown(&self, token: &[u8]) -> Verdict {
        Verdict::Bad(match check_api_key(&self.prefix, token) {
            Err(_) => "The API key is mistyped or cut off.".into(),
            Ok(()) => "The API key is not known.".into(),
        })
    }
}

/// All keys of one authenticator, in memory. It outlives a reload that does not change the authenticator.
#[derive(Debug)]
pub struct KeyRing {
    prefix: Box<str>,
    named_as: NamedAs,
    /// Whether the credential itself goes no further than the gateway.
    hides: Option<http::HeaderName>,
    keys: ArcSwapOption<Keys>,
    loaded: watch::Sender<bool>,
    /// Held while changes are taken in.
    revision: Mutex<Revision>,
}

#[derive(Debug, Default)]
struct Keys {
    by_head: HashMap<u64, Arc<Key>, BuildHasherDefault<AsItIs>>,
}

/// One key.
#[derive(Debug)]
struct Key {
    id: CredentialId,
    digest: ApiKeyDigest,
    known: Arc<Known>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// When it was last used, and what the ledger knows of that, in milliseconds.
    used_at: AtomicI64,
    noted_at: AtomicI64,
}

/// That a key was used.
pub type KeyUse = (CredentialId, Timestamp);

impl KeyRing {
    /// A ring for the keys with this prefix. `hides` is the header whose credential goes no further.
    #[must_use]
    pub fn new(prefix: &str, named_as: NamedAs, hides: Option<http::HeaderName>) -> Self {
        Self {
            prefix: prefix.into(),
            named_as,
            hides,
            keys: ArcSwapOption::empty(),
            loaded: watch::Sender::new(false),
            revision: Mutex::default(),
        }
    }

    /// The prefix of its keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whose keys they are: the authenticator's name.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.named_as.by
    }

    /// How many keys it has, the ended ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.load().as_ref().map_or(0, |keys| keys.by_head.len())
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in what changed in the ledger since it was asked last.
    ///
    /// # Errors
    /// [`LedgerError`]: the keys stay as they are known.
    pub async fn follow<L: Credentials + ?Sized>(&self, ledger: &L) -> Result<(), LedgerError> {
        let since = *self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = ledger.credentials(since).await?;
        // A ledger that was put back, or a standby that took over from behind, counts the same revisions anew: what it has
        // now is all that counts.
        let went_back = changes.revision < since;
        if went_back {
            changes = ledger.credentials(Revision::default()).await?;
        }
        let mut revision = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        // Two may follow at once; who comes last with older news has none.
        if !went_back && changes.revision < *revision {
            return Ok(());
        }
        let mine = changes.records.iter().filter(|record| record.prefix == self.prefix);
        let changed: Vec<Key> = mine.map(|record| self.key(record)).collect();
        let before = self.keys.load_full();
        if before.is_none() || went_back || !changed.is_empty() {
            let kept = before.as_ref().filter(|_| !went_back);
            let mut by_head = kept.map(|keys| keys.by_head.clone()).unwrap_or_default();
            for key in changed {
                if let Some(same) = by_head.get(&key.digest.head()) {
                    key.used_at.store(same.used_at.load(Ordering::Relaxed), Ordering::Relaxed);
                    key.noted_at.store(same.noted_at.load(Ordering::Relaxed), Ordering::Relaxed);
                }
                by_head.insert(key.digest.head(), Arc::new(key));
            }
            // As the ledger does when it issues one: it does not tell of those that it forgot.
            if let Some(newest) = changes.records.iter().map(|record| record.created_at).max() {
                by_head.retain(|_, key| {
                    let ended = [key.expires_at, key.revoked_at].into_iter().flatten().min();
                    ended.is_none_or(|ended| ended.after(ENDED_KEPT) >= newest)
                });
            }
            self.keys.store(Some(Arc::new(Keys { by_head })));
        }
        *revision = changes.revision;
        drop(revision);
        self.loaded.send_replace(true);
        Ok(())
    }

    /// Which keys were used since this was asked last.
    #[must_use]
    pub fn uses(&self) -> Vec<KeyUse> {
        let keys = self.keys.load();
        let used = |key: &Arc<Key>| {
            let used_at = key.used_at.load(Ordering::Relaxed);
            let noted_at = key.noted_at.swap(used_at, Ordering::Relaxed);
            (used_at > noted_at).then(|| (key.id, Timestamp::from_millis(used_at)))
        };
        keys.as_ref().map(|keys| keys.by_head.values().filter_map(used).collect()).unwrap_or_default()
    }

    fn key(&self, record: &CredentialRecord) -> Key {
        let facts = PrincipalFacts {
            name: format!("{}{}", self.named_as.prefix, record.principal).into(),
            by: Arc::clone(&self.named_as.by),
            credential: Some(record.id),
            attributes: record.attributes.clone(),
            scopes: record.scopes.clone(),
            hidden: self.hides.clone(),
        };
        let used = record.last_used_at.map_or(0, Timestamp::as_millis);
        Key {
            id: record.id,
            digest: record.digest,
            known: Arc::new(Known::new(facts, Vec::new())),
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            used_at: AtomicI64::new(used),
            noted_at: AtomicI64::new(used),
        }
    }
}

impl Key {
    fn verdict(&self, now: Timestamp) -> Verdict {
        // Whoever reads this has the key: it is no secret to them that it was one.
        if self.revoked_at.is_some_and(|revoked| revoked <= now) {
            return Verdict::Bad(format!("The API key {} was revoked.", self.id).into());
        }
        if self.expires_at.is_some_and(|expires| expires <= now) {
            return Verdict::Bad(format!("The API key {} has expired.", self.id).into());
        }
        let used_at = self.used_at.load(Ordering::Relaxed);
        if now.as_millis().saturating_sub(used_at) >= USED_COARSELY_MS {
            self.used_at.store(now.as_millis(), Ordering::Relaxed);
        }
        Verdict::Known(Arc::clone(&self.known))
    }
}

/// The beginning of a digest is as good as any hash of it; nobody can choose what is on the ring.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use steadfast_core::ApiKey;
    use steadfast_ledger::{
        Clock, Issue,
        sqlite::{SqliteLedger, SqliteOptions},
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    struct World {
        ledger: SqliteLedger,
        keys: ApiKeys,
        _folder: tempfile::TempDir,
    }

    fn world() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteOptions { clock: Clock::manual(NOW), ..SqliteOptions::default() };
        let ledger = SqliteLedger::open(&folder.path().join("l.db"), options).expect("a ledger");
        let named_as = NamedAs { by: "customers".into(), prefix: "c:".into() };
        World { ledger, keys: ApiKeys::new(Arc::new(KeyRing::new("sf", named_as, None))), _folder: folder }
    }

    impl World {
        async fn issued(&self, prefix: &str, expires_at: Option<Timestamp>) -> ApiKey {
            let key = ApiKey::random(prefix);
            let record = CredentialRecord {
                id: key.id(),
                digest: key.digest(),
                prefix: prefix.into(),
                principal: "acme".into(),
                attributes: vec![("plan".into(), "pro".into())],
                scopes: vec!["a".into()],
                created_at: NOW,
                expires_at,
                revoked_at: None,
                last_used_at: None,
                replaces: None,
            };
            self.ledger.issue(Issue { record, overlap_until: NOW }).await.expect("a key");
            self.follow().await;
            key
        }

        async fn follow(&self) {
            self.keys.ring.follow(&self.ledger).await.expect("a ledger that works");
        }

        /// Who the key is taken for, or what is wrong with it.
        fn check(&self, key: &str, now: Timestamp) -> String {
            match self.keys.check(key.as_bytes(), now) {
                Some(Verdict::Known(known)) => known.principal().expect("a principal").name().to_owned(),
                Some(Verdict::Bad(detail)) => detail.into_owned(),
                Some(Verdict::NotMine) => "not mine".to_owned(),
                other => format!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_key_is_good_until_it_expires_or_is_revoked() {
        let world = world();
        let later = NOW.after(Duration::from_secs(60));
        let (lasting, expiring) = (world.issued("sf", None).await, world.issued("sf", Some(later)).await);
        for key in [&lasting, &expiring] {
            assert_eq!(world.check(key.reveal(), NOW), "c:acme");
        }
        assert_eq!(
            world.check(expiring.reveal(), later),
            format!("The API key {} has expired.", expiring.id())
        );
        world.ledger.revoke(lasting.id(), NOW).await.expect("a revocation");
        assert_eq!(world.check(lasting.reveal(), NOW), "c:acme", "nobody has heard of it yet");
        world.follow().await;
        assert_eq!(world.check(lasting.reveal(), NOW), format!("The API key {} was revoked.", lasting.id()));
    }

    #[tokio::test]
    async fn unknown_mistyped_and_foreign_keys_are_told_apart_and_none_is_let_in() {
        let world = world();
        let key = world.issued("sf", None).await;
        let foreign = world.issued("other", None).await;
        assert_eq!(world.check(ApiKey::random("sf").reveal(), NOW), "The API key is not known.");
        let mut typo = key.reveal().to_owned();
        typo.pop();
        assert_eq!(world.check(&typo, NOW), "The API key is mistyped or cut off.");
        for other in [foreign.reveal(), "x.y.z", "sf"] {
            assert_eq!(world.check(other, NOW), "not mine");
        }
        // The key of another prefix, dressed up as one of these.
        let dressed = foreign.reveal().replacen("other", "sf", 1);
        assert_eq!(world.check(&dressed, NOW), "The API key is mistyped or cut off.");
    }

    #[tokio::test]
    async fn a_ledger_that_was_put_back_has_the_last_word() {
        let world = world();
        let (first, second) = (world.issued("sf", None).await, world.issued("sf", None).await);
        // Another one, which has counted less: a backup, say, or a standby that took over from behind.
        let behind = self::world();
        let other = behind.issued("sf", None).await;
        world.keys.ring.follow(&behind.ledger).await.expect("a ledger that works");
        assert_eq!(world.check(other.reveal(), NOW), "c:acme");
        for gone in [&first, &second] {
            assert_eq!(world.check(gone.reveal(), NOW), "The API key is not known.");
        }
        behind.ledger.revoke(other.id(), NOW).await.expect("a revocation");
        world.keys.ring.follow(&behind.ledger).await.expect("a ledger that works");
        assert_eq!(world.check(other.reveal(), NOW), format!("The API key {} was revoked.", other.id()));
    }

    #[tokio::test]
    async fn a_use_is_told_once_and_survives_a_change_of_its_key() {
        let world = world();
        let key = world.issued("sf", None).await;
        assert_eq!(world.keys.ring.uses(), []);
        world.check(key.reveal(), NOW);
        world.issued("sf", None).await;
        assert_eq!(world.keys.ring.uses(), [(key.id(), NOW)]);
        world.check(key.reveal(), NOW.after(Duration::from_secs(59)));
        assert_eq!(world.keys.ring.uses(), [], "noted coarsely");
        let later = NOW.after(Duration::from_secs(60));
        world.check(key.reveal(), later);
        assert_eq!(world.keys.ring.uses(), [(key.id(), later)]);
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_keys_were_read_a_request_waits_for_them_and_not_for_ever() {
        let world = world();
        let key = ApiKey::random("sf");
        assert!(world.keys.check(key.reveal().as_bytes(), NOW).is_none());
        let verdict = world.keys.check_when_loaded(key.reveal().as_bytes(), NOW).await;
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
        let key = world.issued("sf", None).await;
        let verdict = world.keys.check_when_loaded(key.reveal().as_bytes(), NOW).await;
        assert!(matches!(verdict, Verdict::Known(_)), "{verdict:?}");
    }
}
