//! Who is banned, in memory: what the ledger says, as of the last time that it told; what the config says; what was decided
//! here and is not in the ledger yet; and who would be banned, were that acted on. A ledger that is lost changes nothing
//! about it: nobody is let in by that, and nobody locked out.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use steadfast_core::{Ban, BanOrder, BanSource, BanSubject, Timestamp};
use steadfast_ledger::{AUTOMATIC_BANS_MAX, BanError, Bans, LedgerError, Revision};

use super::{networks::Networks, policy::StaticBan};

/// How many bans wait to be written to the ledger at the most. While it is lost no more than these are made by themselves.
pub const UNWRITTEN_BANS_MAX: usize = 10_000;

/// Of how many the ledger is told before it is asked again what changed there.
const TOLD_AT_ONCE: usize = 500;

/// After so many orders in a row that it did not take the ledger is lost, and not only an order bad.
const LOST_AFTER: u32 = 3;

/// How many would-be bans are remembered at the most.
const SHADOW_BANS_MAX: usize = 10_000;

/// Everybody who is banned.
#[derive(Debug, Default)]
pub struct BanList {
    held: RwLock<Held>,
    /// How many there are that keep somebody out, or would; nobody takes the lock where there are none. Those that ended
    /// are of no account, from the next time on that it is swept.
    count: AtomicUsize,
    /// Held while changes are taken in.
    revision: Mutex<Revision>,
    /// Whether the ledger is asked for everything next.
    is_doubtful: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    ledger: Table,
    config: Table,
    shadow: Table,
    /// What the ledger has not been told of yet.
    unwritten: HashMap<BanSubject, BanOrder>,
    /// What the ledger had of some of those, which ends sooner than what was decided here.
    passed_over: HashMap<BanSubject, Ban>,
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
    /// How many those are.
    count: usize,
    /// What ended, and matters to a ban that comes soon upon it.
    ended: HashMap<BanSubject, Ban>,
}

impl Table {
    fn put(&mut self, ban: Ban, is_shadow: bool) {
        if self.get(&ban.subject) == Some(&ban) {
            // What is known of whom it refused stays.
            return;
        }
        self.remove(&ban.subject);
        if ban.lifted_at.is_some() {
            self.ended.insert(ban.subject.clone(), ban);
            return;
        }
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
        held.map(|held| &held.ban).or_else(|| self.ended.get(subject))
    }

    fn remove(&mut self, subject: &BanSubject) {
        let removed = match subject {
            BanSubject::Network(network) => self.networks.remove(network),
            BanSubject::Principal(name) => self.principals.remove(name),
        };
        self.count -= usize::from(removed.is_some());
        self.ended.remove(subject);
    }

    /// How many there are, with those that ended.
    fn len(&self) -> usize {
        self.count + self.ended.len()
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
        self.ended.retain(|_, ban| stays(ban));
        self.count = self.all().count();
    }

    /// Puts away what ended, and forgets what ended long ago.
    fn sweep(&mut self, now: Timestamp) {
        let ended: Vec<Ban> =
            self.all().filter(|held| !held.ban.holds(now)).map(|held| held.ban.clone()).collect();
        for ban in ended {
            self.remove(&ban.subject);
            self.ended.insert(ban.subject.clone(), ban);
        }
        self.ended.retain(|_, ban| !ban.is_forgotten(now));
    }
}

/// What came of telling the ledger.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How many it had no room for, of each source in the order of [`BanSource::ALL`].
    pub(super) no_room: [u64; BanSource::ALL.len()],
    /// Why it was not told of some: that goes on holding here, and it is told later.
    pub(super) error: Option<LedgerError>,
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
            let is_known = held.shadow.get(&order.subject).is_some();
            if !is_known && held.shadow.len() >= SHADOW_BANS_MAX {
                held.shadow.retain(|ban| ban.holds(order.at));
            }
            if !is_known && held.shadow.len() >= SHADOW_BANS_MAX {
                return Err(NoRoom);
            }
            held.shadow.put(ban.clone(), true);
        } else {
            let is_known = held.ledger.get(&order.subject).is_some();
            if held.unwritten.len() >= UNWRITTEN_BANS_MAX
                || !is_known && held.ledger.len() >= AUTOMATIC_BANS_MAX
            {
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

    /// Takes in what changed in the ledger since it was asked last; who was let in again by that.
    ///
    /// # Errors
    /// [`LedgerError`]: the bans stay as they are known.
    pub async fn follow<L: Bans + ?Sized>(&self, ledger: &L) -> Result<Vec<BanSubject>, LedgerError> {
        let followed = self.ask(ledger).await;
        if followed.is_err() {
            // It may be another one that answers next.
            self.doubt_ledger();
        }
        followed
    }

    /// Asks the ledger for everything next.
    pub(super) fn doubt_ledger(&self) {
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    async fn ask<L: Bans + ?Sized>(&self, ledger: &L) -> Result<Vec<BanSubject>, LedgerError> {
        let is_doubtful = self.is_doubtful.swap(false, Ordering::Relaxed);
        let known = *self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        let since = if is_doubtful { Revision::default() } else { known };
        let mut changes = ledger.bans(since).await?;
        // A ledger that was put back, or a standby that took over from behind, counts the same revisions anew: what it has
        // now is all that counts.
        let went_back = changes.revision < known;
        if went_back && !is_doubtful {
            changes = ledger.bans(Revision::default()).await?;
        }
        let mut revision = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        // Two may follow at once; who comes last with older news has none.
        if !went_back && changes.revision < *revision {
            return Ok(Vec::new());
        }
        let mut held = self.write();
        let Held { ledger, unwritten, passed_over, .. } = &mut *held;
        if went_back || is_doubtful {
            let there: HashSet<&BanSubject> = changes.bans.iter().map(|ban| &ban.subject).collect();
            ledger.retain(|ban| unwritten.contains_key(&ban.subject) || there.contains(&ban.subject));
            passed_over.clear();
        }
        let mut let_in = Vec::new();
        for ban in changes.bans {
            let was_lifted = ledger.get(&ban.subject).is_some_and(|known| known.lifted_at == ban.lifted_at);
            if ban.lifted_at.is_some() && !was_lifted {
                let_in.push(ban.subject.clone());
            }
            // What was decided here just now is not undone by what the ledger knew before it is told of that.
            let lasts = |ban: &Ban| ban.ends_at().map_or(i64::MAX, Timestamp::as_millis);
            let known = ledger.get(&ban.subject).filter(|_| unwritten.contains_key(&ban.subject));
            if known.is_none_or(|known| lasts(&ban) >= lasts(known)) {
                passed_over.remove(&ban.subject);
                ledger.put(ban, false);
            } else {
                passed_over.insert(ban.subject.clone(), ban);
            }
        }
        self.recount(&held);
        drop(held);
        *revision = changes.revision;
        Ok(let_in)
    }

    /// Tells the ledger of what was decided here, of very much the first. An order that fails by itself keeps none of the
    /// others back.
    pub(super) async fn tell<L: Bans + ?Sized>(&self, ledger: &L) -> Told {
        let orders: Vec<BanOrder> = self.read().unwritten.values().take(TOLD_AT_ONCE).cloned().collect();
        let mut told = Told::default();
        let mut failed_in_a_row = 0;
        for order in orders {
            match ledger.ban(order.clone()).await {
                Ok(ban) => self.settled(&order, ban),
                Err(BanError::TooMany | BanError::NotFound) => {
                    let place = BanSource::ALL.iter().position(|source| *source == order.source);
                    told.no_room[place.unwrap_or_default()] += 1;
                    self.dropped(&order);
                }
                // It cannot be written: it would be told of again and again.
                Err(BanError::Ledger(error @ LedgerError::Corrupt(_))) => {
                    tracing::warn!(%error, subject = %order.subject, "the ledger does not take a ban, which is forgotten");
                    self.dropped(&order);
                }
                Err(BanError::Ledger(error)) => {
                    told.error = Some(error);
                    failed_in_a_row += 1;
                    if failed_in_a_row >= LOST_AFTER {
                        break;
                    }
                    continue;
                }
            }
            failed_in_a_row = 0;
        }
        told
    }

    /// The ledger was told of this order, and this is what it made of it; where it made nothing of it, what it had holds.
    fn settled(&self, order: &BanOrder, ban: Option<Ban>) {
        let mut held = self.write();
        // Another one may have come upon it meanwhile, of which the ledger will be told next.
        if held.unwritten.get(&order.subject) == Some(order) {
            held.unwritten.remove(&order.subject);
            let passed_over = held.passed_over.remove(&order.subject);
            if let Some(ban) = ban.or(passed_over) {
                held.ledger.put(ban, false);
                self.recount(&held);
            }
        }
    }

    /// The ledger does not take this order. What is not in the ledger nobody could lift: it does not hold here either.
    fn dropped(&self, order: &BanOrder) {
        let mut held = self.write();
        if held.unwritten.get(&order.subject) == Some(order) {
            held.unwritten.remove(&order.subject);
            held.ledger.remove(&order.subject);
            if let Some(ban) = held.passed_over.remove(&order.subject) {
                held.ledger.put(ban, false);
            }
            self.recount(&held);
        }
    }

    /// Whether the ledger is to be told of some.
    pub(super) fn has_untold(&self) -> bool {
        !self.read().unwritten.is_empty()
    }

    /// Puts away what ended, and forgets what ended long ago.
    pub fn sweep(&self, now: Timestamp) {
        let mut held = self.write();
        held.ledger.sweep(now);
        held.shadow.sweep(now);
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
    fn what_ended_is_of_no_account_after_a_sweep_and_lets_the_next_ban_grow() {
        let list = BanList::default();
        let growing = BanTime::Growing { first: MINUTE, longest: MINUTE * 10 };
        for is_shadow in [false, true] {
            list.make(order("203.0.113.7", growing), is_shadow).expect("room");
        }
        list.sweep(NOW);
        assert!(!list.is_empty());
        let later = NOW.after(MINUTE);
        list.sweep(later);
        assert!(list.is_empty() && list.has_untold(), "the ledger is told all the same");
        for is_shadow in [false, true] {
            let again = BanOrder { at: later, ..order("203.0.113.7", growing) };
            let grown = list.make(again, is_shadow).expect("room").expect("a ban");
            assert_eq!(grown.until, Some(later.after(MINUTE * 2)));
        }
        assert_eq!(found(&list, "203.0.113.7", later), Some(("203.0.113.7".into(), false)));
    }

    #[test]
    fn what_the_ledger_does_not_take_does_not_hold_where_nobody_could_lift_it() {
        let list = BanList::default();
        let order = order("203.0.113.7", BanTime::For(MINUTE));
        list.make(order.clone(), false).expect("room");
        list.dropped(&order);
        assert!(list.is_empty() && !list.has_untold());
        assert_eq!(found(&list, "203.0.113.7", NOW), None);
    }

    #[test]
    fn there_is_no_room_for_more_than_the_ledger_has_room_for() {
        let list = BanList::default();
        let made = (0..AUTOMATIC_BANS_MAX as u32 + 2).map(|number| {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + number).to_string();
            let order = order(&address, BanTime::For(MINUTE));
            let made = list.make(order.clone(), false);
            list.settled(&order, None);
            made
        });
        assert_eq!(made.filter(|made| *made == Err(NoRoom)).count(), 2);
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
