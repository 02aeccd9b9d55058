//! Who is banned, in memory: what the ledger says, as of the last time that it told; what the config says; what was decided
//! here and is not in the ledger yet; and who would be banned, were that acted on. A ledger that is lost changes nothing
//! about it: nobody is let in by that, and nobody locked out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use steadfast_core::{Ban, BanOrder, BanSource, BanSubject, Timestamp};
use steadfast_ledger::{BanError, Bans, LedgerError, Revision};

use super::{networks::Networks, policy::StaticBan};

/// How many bans wait to be written to the ledger at the most. While it is lost no more than these are made by themselves.
pub const UNWRITTEN_BANS_MAX: usize = 10_000;

/// How many would-be bans are remembered at the most.
const SHADOW_BANS_MAX: usize = 10_000;

/// Everybody who is banned.
#[derive(Debug, Default)]
pub struct BanList {
    held: RwLock<Held>,
    /// How many there are in all; nobody takes the lock where there are none.
    count: AtomicUsize,
    /// Held while changes are taken in.
    revision: Mutex<Revision>,
}

#[derive(Debug, Default)]
struct Held {
    ledger: Table,
    config: Table,
    shadow: Table,
    /// What the ledger has not been told of yet.
    unwritten: HashMap<BanSubject, BanOrder>,
}

/// A ban, and what came of it here.
#[derive(Debug)]
pub(super) struct HeldBan {
    pub(super) ban: Ban,
    /// Whether it is only noted whom it would refuse.
    pub(super) is_shadow: bool,
    /// When it was last told of whom it refused, in milliseconds, and how many it refused since.
    pub(super) told_at: AtomicI64,
    pub(super) untold: AtomicU64,
}

impl HeldBan {
    fn new(ban: Ban, is_shadow: bool) -> Arc<Self> {
        let told_at = AtomicI64::new(i64::MIN);
        Arc::new(Self { ban, is_shadow, told_at, untold: AtomicU64::new(0) })
    }
}

/// Who is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    Address(IpAddr),
    Principal(&'a str),
}

#[derive(Debug, Default)]
struct Table {
    networks: Networks<Arc<HeldBan>>,
    principals: HashMap<Box<str>, Arc<HeldBan>>,
    count: usize,
}

impl Table {
    fn put(&mut self, ban: Ban, is_shadow: bool) {
        let before = match ban.subject.clone() {
            BanSubject::Network(network) => self.networks.insert(&network, HeldBan::new(ban, is_shadow)),
            BanSubject::Principal(name) => self.principals.insert(name, HeldBan::new(ban, is_shadow)),
        };
        self.count += usize::from(before.is_none());
    }

    fn get(&self, subject: &BanSubject) -> Option<&Ban> {
        let held = match subject {
            BanSubject::Network(network) => self.networks.get(network),
            BanSubject::Principal(name) => self.principals.get(name),
        };
        held.map(|held| &held.ban)
    }

    /// Of the bans that hold, the one that does for longest.
    fn find(&self, who: Who<'_>, now: Timestamp) -> Option<&Arc<HeldBan>> {
        let later = |held: &&Arc<HeldBan>| held.ban.until.map_or(i64::MAX, Timestamp::as_millis);
        match who {
            Who::Address(address) => {
                self.networks.around(address).filter(|held| held.ban.holds(now)).max_by_key(later)
            }
            Who::Principal(name) => self.principals.get(name).filter(|held| held.ban.holds(now)),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<HeldBan>> {
        self.networks.values().chain(self.principals.values())
    }

    fn retain(&mut self, mut stays: impl FnMut(&Ban) -> bool) {
        self.networks.retain(|held| stays(&held.ban));
        self.principals.retain(|_, held| stays(&held.ban));
        self.count = self.all().count();
    }
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl BanList {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// The ban that keeps somebody out; where there is none, the one that would, were it acted on.
    pub(super) fn find(&self, who: Who<'_>, now: Timestamp) -> Option<Arc<HeldBan>> {
        if self.is_empty() {
            return None;
        }
        let held = self.read();
        let by_config = held.config.find(who, now);
        by_config.or_else(|| held.ledger.find(who, now)).or_else(|| held.shadow.find(who, now)).cloned()
    }

    /// Makes of an order what it comes to, at once in this process; the ledger is told later. `None` where nothing changes.
    pub(super) fn make(&self, order: BanOrder, is_shadow: bool) -> Result<Option<Ban>, NoRoom> {
        let mut held = self.write();
        let table = if is_shadow { &held.shadow } else { &held.ledger };
        let Some(ban) = order.upon(table.get(&order.subject)) else { return Ok(None) };
        if is_shadow {
            if held.shadow.count >= SHADOW_BANS_MAX {
                held.shadow.retain(|ban| ban.holds(order.at));
            }
            if held.shadow.count >= SHADOW_BANS_MAX {
                return Err(NoRoom);
            }
            held.shadow.put(ban.clone(), true);
        } else {
            if held.unwritten.len() >= UNWRITTEN_BANS_MAX {
                return Err(NoRoom);
            }
            held.ledger.put(ban.clone(), false);
            // Where the ledger was not told of the one before, it counts that one all the same.
            let order = BanOrder { repeats: ban.repeats, ..order };
            held.unwritten.insert(order.subject.clone(), order);
        }
        self.recount(&held);
        Ok(Some(ban))
    }

    /// From now on the config bans these.
    pub(super) fn set_config(&self, bans: &[StaticBan], by: &str, now: Timestamp) {
        let mut table = Table::default();
        for StaticBan { of, reason, challenge } in bans {
            let ban = Ban {
                subject: of.clone(),
                source: BanSource::Config,
                began_at: now,
                until: None,
                lifted_at: None,
                reason: reason.clone(),
                by: by.into(),
                challenge: challenge.clone(),
                repeats: 0,
            };
            table.put(ban, false);
        }
        let mut held = self.write();
        held.config = table;
        self.recount(&held);
    }

    /// Takes in what changed in the ledger since it was asked last.
    ///
    /// # Errors
    /// [`LedgerError`]: the bans stay as they are known.
    pub async fn follow<L: Bans + ?Sized>(&self, ledger: &L) -> Result<(), LedgerError> {
        let since = *self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = ledger.bans(since).await?;
        // A ledger that was put back, or a standby that took over from behind, counts the same revisions anew: what it has
        // now is all that counts.
        let went_back = changes.revision < since;
        if went_back {
            changes = ledger.bans(Revision::default()).await?;
        }
        let mut revision = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        // Two may follow at once; who comes last with older news has none.
        if !went_back && changes.revision < *revision {
            return Ok(());
        }
        let mut held = self.write();
        let Held { ledger, unwritten, .. } = &mut *held;
        if went_back {
            ledger.retain(|ban| unwritten.contains_key(&ban.subject));
        }
        for ban in changes.bans {
            // What was decided here just now is not undone by what the ledger knew before it is told of that.
            let lasts = |ban: &Ban| ban.ends_at().map_or(i64::MAX, Timestamp::as_millis);
            let known = ledger.get(&ban.subject).filter(|_| unwritten.contains_key(&ban.subject));
            if known.is_none_or(|known| lasts(&ban) >= lasts(known)) {
                ledger.put(ban, false);
            }
        }
        self.recount(&held);
        drop(held);
        *revision = changes.revision;
        Ok(())
    }

    /// Tells the ledger of what was decided here; how many it had no room for, which hold in this process alone.
    ///
    /// # Errors
    /// [`LedgerError`]: what it was not told of goes on holding here, and it is told later.
    pub async fn tell<L: Bans + ?Sized>(&self, ledger: &L) -> Result<u64, LedgerError> {
        let orders: Vec<BanOrder> = self.read().unwritten.values().cloned().collect();
        let mut no_room = 0;
        for order in orders {
            match ledger.ban(order.clone()).await {
                Ok(ban) => self.settled(&order, ban),
                Err(BanError::Ledger(error)) => return Err(error),
                Err(BanError::TooMany | BanError::NotFound) => {
                    no_room += 1;
                    self.settled(&order, None);
                }
            }
        }
        Ok(no_room)
    }

    /// The ledger was told of this order, and this is what it made of it.
    fn settled(&self, order: &BanOrder, ban: Option<Ban>) {
        let mut held = self.write();
        // Another one may have come upon it meanwhile, of which the ledger will be told next.
        if held.unwritten.get(&order.subject) == Some(order) {
            held.unwritten.remove(&order.subject);
            if let Some(ban) = ban {
                held.ledger.put(ban, false);
                self.recount(&held);
            }
        }
    }

    /// Whether the ledger is to be told of some.
    pub(super) fn has_untold(&self) -> bool {
        !self.is_empty() && !self.read().unwritten.is_empty()
    }

    /// Forgets what ended long ago.
    pub fn sweep(&self, now: Timestamp) {
        if self.is_empty() {
            return;
        }
        let mut held = self.write();
        held.ledger.retain(|ban| !ban.is_forgotten(now));
        held.shadow.retain(|ban| !ban.is_forgotten(now));
        self.recount(&held);
    }

    /// How many hold of each source, in the order of [`BanSource::ALL`]; and how many would.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> ([u64; BanSource::ALL.len()], u64) {
        let held = self.read();
        let all = held.ledger.all().chain(held.config.all()).filter(|held| held.ban.holds(now));
        let mut counts = [0; BanSource::ALL.len()];
        for one in all {
            let place = BanSource::ALL.iter().position(|source| *source == one.ban.source);
            if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                *count += 1;
            }
        }
        (counts, held.shadow.all().filter(|held| held.ban.holds(now)).count() as u64)
    }

    /// The bans that the config says, and those that would hold, were they acted on.
    #[must_use]
    pub fn beside_the_ledger(&self, now: Timestamp) -> Vec<(Ban, bool)> {
        let held = self.read();
        let all = held.config.all().chain(held.shadow.all()).filter(|held| held.ban.holds(now));
        let mut bans: Vec<_> = all.map(|held| (held.ban.clone(), held.is_shadow)).collect();
        bans.sort_by(|(one, _), (other, _)| one.subject.cmp(&other.subject));
        bans
    }

    fn recount(&self, held: &Held) {
        let count = held.ledger.count + held.config.count + held.shadow.count;
        self.count.store(count, Ordering::Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use steadfast_core::BanTime;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn order(subject: &str, lasts: BanTime) -> BanOrder {
        let subject = subject.parse().expect("a subject");
        let (source, reason, by) = (BanSource::Unauthenticated, "".into(), "".into());
        BanOrder { subject, source, at: NOW, lasts, reason, by, challenge: None, repeats: 0 }
    }

    fn found(list: &BanList, address: &str, now: Timestamp) -> Option<(String, bool)> {
        let held = list.find(Who::Address(address.parse().expect("an address")), now)?;
        Some((held.ban.subject.to_string(), held.is_shadow))
    }

    #[test]
    fn the_ban_that_lasts_longest_is_the_one_that_is_told_of() {
        let list = BanList::default();
        assert_eq!(found(&list, "203.0.113.7", NOW), None);
        list.make(order("203.0.113.7", BanTime::For(MINUTE)), false).expect("room");
        list.make(order("203.0.113.0/24", BanTime::For(MINUTE * 2)), false).expect("room");
        list.make(order("198.51.100.0/24", BanTime::ForEver), false).expect("room");
        assert_eq!(found(&list, "203.0.113.7", NOW), Some(("203.0.113.0/24".into(), false)));
        assert_eq!(
            found(&list, "198.51.100.1", NOW.after(MINUTE * 99)),
            Some(("198.51.100.0/24".into(), false))
        );
        assert_eq!(found(&list, "203.0.113.7", NOW.after(MINUTE * 2)), None);
        assert_eq!(list.in_force(NOW), ([0, 0, 3, 0], 0));
    }

    #[test]
    fn what_is_not_acted_on_is_found_only_where_nothing_else_is() {
        let list = BanList::default();
        list.make(order("203.0.113.7", BanTime::For(MINUTE)), true).expect("room");
        assert_eq!(found(&list, "203.0.113.7", NOW), Some(("203.0.113.7".into(), true)));
        let of = "203.0.113.0/24".parse().expect("a subject");
        list.set_config(&[StaticBan { of, reason: "".into(), challenge: None }], "config", NOW);
        assert_eq!(found(&list, "203.0.113.7", NOW), Some(("203.0.113.0/24".into(), false)));
        list.set_config(&[], "config", NOW);
        assert_eq!(list.in_force(NOW), ([0; 4], 1));
        list.sweep(NOW.after(MINUTE * 2).after(steadfast_core::REPEATED_WITHIN));
        assert!(list.is_empty());
    }

    #[test]
    fn what_the_ledger_made_of_an_older_order_does_not_undo_a_newer_one() {
        let list = BanList::default();
        let growing = BanTime::Growing { first: MINUTE, longest: MINUTE * 10 };
        let first = order("203.0.113.7", growing);
        let made = list.make(first.clone(), false).expect("room");
        let later = NOW.after(MINUTE);
        let second = BanOrder { at: later, ..first.clone() };
        let grown = list.make(second.clone(), false).expect("room").expect("a ban");
        list.settled(&first, made);
        assert!(found(&list, "203.0.113.7", later).is_some());
        assert!(list.has_untold(), "the ledger is told of the second");
        let told = list.read().unwritten.values().next().cloned().expect("it");
        assert_eq!(told.upon(None), Some(grown), "though it was never told of the first");
        list.settled(&told, None);
        assert!(found(&list, "203.0.113.7", later).is_some() && !list.has_untold());
    }

    #[test]
    fn a_flood_of_bans_takes_up_no_more_than_a_bounded_room() {
        let list = BanList::default();
        let many = |is_shadow| {
            let made = (0..UNWRITTEN_BANS_MAX as u32 + 1_000).map(|number| {
                let address = std::net::Ipv4Addr::from(0x0b00_0000 + number);
                list.make(order(&address.to_string(), BanTime::For(MINUTE)), is_shadow)
            });
            made.filter(|made| made.is_err()).count()
        };
        let began = Instant::now();
        assert_eq!((many(false), many(true)), (1_000, 1_000));
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
