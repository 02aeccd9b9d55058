//! What customers want, and how clumsily they ask for it. The n-th intent is a function of the seed and n alone.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::dice::Dice;

/// A card that the bank always declines.
const DECLINED_CARD: &str = "4000000000000002";
const GOOD_CARD: &str = "4242424242424242";

/// One thing that one customer wants, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// Its idempotency key, which is also its name in the books of the box office and the bank.
    pub(super) key: String,
    /// Where to ask for it.
    pub(super) path: &'static str,
    /// What to ask.
    pub(super) body: Bytes,
    pub(super) manners: Manners,
}

impl Intent {
    /// Whether it is an order of tickets, for which the box office asks the bank.
    pub(super) fn is_order(&self) -> bool {
        self.path == "/orders"
    }
}

/// How a customer goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manners {
    /// When each click comes, after the first: 1 to 3 of them.
    pub(super) clicks: Vec<Duration>,
    /// How long they wait for one answer before they try again.
    pub(super) patience: Duration,
    /// They ask once more when they have their answer, as by reloading the page.
    pub(super) comes_back: bool,
    /// When they have their answer, they send another request under the same key: a bug of theirs.
    pub(super) slips: Option<Bytes>,
    /// How long they look at the answer.
    pub(super) rest: Duration,
}

/// The seeded stream of intents.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) seed: u64,
    /// Sets the keys of this run apart from those of any other on the same ledger.
    pub(super) run: String,
}

impl Stream {
    /// What the keys of this run begin with.
    pub(super) fn prefix(&self) -> String {
        format!("demo-{}-", self.run)
    }

    pub(super) fn intent(&self, number: u64) -> Intent {
        let mut dice = Dice::new(self.seed, number);
        let key = format!("{}{number}", self.prefix());
        let (path, body) = wish(&mut dice, number, 1);
        let clicks = match dice.between(1, 100) {
            1..=70 => 1,
            71..=92 => 2,
            _ => 3,
        };
        let clicks = (0..clicks).scan(Duration::ZERO, |at, _| {
            let click = *at;
            *at += Duration::from_millis(dice.between(0, 40));
            Some(click)
        });
        let clicks = clicks.collect();
        let manners = Manners {
            clicks,
            patience: Duration::from_millis(dice.between(300, 1_500)),
            comes_back: dice.percent(15),
            slips: dice.percent(4).then(|| wish(&mut Dice::new(self.seed, number), number, 2).1),
            rest: Duration::from_millis(dice.between(60, 240)),
        };
        Intent { key, path, body, manners }
    }
}

/// What to ask and where: a place for `seats` people, or for a registration the `seats`-th member of a household.
fn wish(dice: &mut Dice, number: u64, seats: u64) -> (&'static str, Bytes) {
    let order = |event: &str, card: &str| json!({ "event": event, "buyer": format!("customer-{number}"), "tickets": seats, "card": card });
    let (path, body) = match dice.between(1, 100) {
        1..=40 => {
            ("/register", json!({ "student": format!("student-{number}-{seats}"), "event": "campus-tour" }))
        }
        41..=82 => ("/orders", order("open-air", GOOD_CARD)),
        // Sells out in a long run: whoever is late gets 409 from the box office itself.
        83..=94 => ("/orders", order("spring-gala", GOOD_CARD)),
        // Three seats for which many race.
        95..=97 => ("/orders", order("chamber-night", GOOD_CARD)),
        _ => ("/orders", order("open-air", DECLINED_CARD)),
    };
    (path, Bytes::from(body.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_wants_the_same_things_in_the_same_way() {
        let stream = |seed| Stream { seed, run: "a".into() };
        for number in 0..200 {
            assert_eq!(stream(7).intent(number), stream(7).intent(number));
        }
        assert!((0..200).any(|number| stream(7).intent(number) != stream(8).intent(number)));
    }

    #[test]
    fn a_slip_asks_the_same_place_for_something_else() {
        let stream = Stream { seed: 7, run: "a".into() };
        let slips: Vec<_> = (0..1_000).map(|number| stream.intent(number)).collect();
        let slips: Vec<_> = slips.iter().filter(|intent| intent.manners.slips.is_some()).collect();
        assert!(slips.len() > 10);
        assert!(slips.iter().all(|intent| intent.manners.slips.as_ref() != Some(&intent.body)));
    }
}
