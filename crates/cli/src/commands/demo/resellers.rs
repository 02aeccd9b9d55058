//! Resellers read the list of events at an even pace, each with an API key of its own and well within its limit, while one
//! of them is noisy. The others must not notice: what they saw is compared with the quiet time afterwards.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde::Serialize;
use steadfast_admin::api::{CreateCredentialRequest, IssuedView};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    client::Client,
    gateway::{RESELLER_BURST, RESELLER_PER_SECOND},
    noise,
    scenes::Scenes,
};

/// How many there are beside the noisy one.
const OTHERS: u32 = 32;
/// How long each waits from one question to the next: it never asks for all that it may.
const EVERY: Duration = Duration::from_millis(250);
/// How long an answer may take: longer than it ever should.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much slower nine of ten answers of the others may be in the noise: so many times, and so much, where other programs
/// take the processor. Whoever waits for the noisy one's turn waits longer than that.
const SLOWER_TIMES: u64 = 3;
const SLOWER_BY: Duration = Duration::from_millis(150);
/// Noise below so many times its limit proves nothing.
const TIMES_MIN: u64 = 10;
/// Nor do fewer answers of the others than this, in the noise or in quiet.
const ANSWERS_MIN: u64 = 40;

/// One question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glance {
    at: Instant,
    waited: Duration,
    saw: Saw,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    /// The list.
    Answer,
    /// 429: more than it may.
    Refused,
    /// Another refusal, or no answer.
    Nothing,
}

/// Resellers at work.
#[derive(Debug)]
pub(super) struct Resellers {
    others: JoinSet<Vec<Glance>>,
    noisy: JoinSet<anyhow::Result<Vec<Glance>>>,
    over: watch::Sender<bool>,
}

/// The keys of them all, made for this run and not good for much longer; the noisy one's is the last.
///
/// # Errors
/// The gateway makes none.
pub(super) async fn enrol(admin: SocketAddr, run: &str, time: Duration) -> anyhow::Result<Vec<String>> {
    let mut client = Client::new(admin);
    let mut keys = Vec::new();
    for number in 0..=OTHERS {
        let order = CreateCredentialRequest {
            principal: format!("reseller-{run}-{number}"),
            authenticator: None,
            scopes: Vec::new(),
            attributes: [].into(),
            expires_in: Some(format!("{}s", time.as_secs() + 3_600)),
            by: "steadfast demo".to_owned(),
            reason: "a reseller of the demo".to_owned(),
        };
        let request = Request::post("/api/credentials")
            .header(header::HOST, admin.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(&order)?)))?;
        let reply = client.send(request, PATIENCE).await.context("the admin API does not answer")?;
        if !(200..300).contains(&reply.status) {
            bail!("no key was made: {}: {}", reply.status, String::from_utf8_lossy(&reply.body));
        }
        let issued: IssuedView = serde_json::from_slice(&reply.body).context("a key cannot be read")?;
        keys.push(issued.key);
    }
    Ok(keys)
}

impl Resellers {
    /// Has them ask from the beginning of the noise on.
    pub(super) fn start(gateway: SocketAddr, mut keys: Vec<String>, scenes: Scenes) -> Self {
        let (over, is_over) = watch::channel(false);
        let (mut noisy, mut others) = (JoinSet::new(), JoinSet::new());
        if let Some(key) = keys.pop() {
            noisy.spawn(scenes.noise.make(gateway, key));
        }
        for (number, key) in (0_u32..).zip(keys) {
            // Not all at once.
            let from = scenes.noise.begins + EVERY * number / OTHERS;
            others.spawn(look(gateway, key, from, is_over.clone()));
        }
        Self { others, noisy, over }
    }

    /// Has them stop, and says what they saw.
    ///
    /// # Errors
    /// One of them panicked.
    pub(super) async fn finish(mut self, scenes: Scenes) -> anyhow::Result<NoiseReport> {
        self.over.send_replace(true);
        let (mut noisy, mut others) = (Vec::new(), Vec::new());
        while let Some(glances) = self.noisy.join_next().await {
            noisy.extend(glances.context("the noisy reseller panicked")??);
        }
        while let Some(glances) = self.others.join_next().await {
            others.extend(glances.context("a reseller panicked")?);
        }
        Ok(NoiseReport::new(scenes, &noisy, &others))
    }
}

/// Asks again and again, until it is over.
async fn look(
    gateway: SocketAddr,
    key: String,
    from: Instant,
    is_over: watch::Receiver<bool>,
) -> Vec<Glance> {
    let mut client = Client::new(gateway);
    let mut glances = Vec::new();
    let mut ticks = interval_at(from, EVERY);
    // Whoever was held up does not ask for more at once afterwards.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if *is_over.borrow() {
            return glances;
        }
        glances.push(glance(&mut client, &key).await);
    }
}

/// Asks for the list of events once.
pub(super) async fn glance(client: &mut Client, key: &str) -> Glance {
    let at = Instant::now();
    let reply = client.get_as(Some(key), "/programme/events", PATIENCE).await;
    let saw = match reply.map(|reply| reply.status) {
        Ok(200) => Saw::Answer,
        Ok(429) => Saw::Refused,
        Ok(_) | Err(_) => Saw::Nothing,
    };
    Glance { at, waited: at.elapsed(), saw }
}

/// What became of the noisy reseller, and what the others noticed. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct NoiseReport {
    /// How long it was noisy.
    pub(super) length_ms: u64,
    /// Its requests.
    pub(super) noisy: Seen,
    /// What its limit allows from its first request to its last answer.
    pub(super) let_through_max: u64,
    /// Those of all others, meanwhile.
    pub(super) others: Seen,
    /// And in the quiet time afterwards.
    pub(super) others_in_quiet: Seen,
    /// What must not be, in words.
    pub(super) broken_promises: Vec<String>,
    /// Whether enough was asked to prove anything.
    pub(super) is_meaningful: bool,
}

/// What came of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    pub(super) asked: u64,
    pub(super) let_through: u64,
    /// By their limit.
    pub(super) refused: u64,
    /// Refused otherwise, or without any answer.
    pub(super) unanswered: u64,
    /// Within what nine of ten were answered, in microseconds.
    pub(super) p90_us: u64,
    /// Within what 99 of a hundred were.
    pub(super) p99_us: u64,
}

impl Seen {
    fn of<'a>(glances: impl Iterator<Item = &'a Glance>) -> Self {
        let (mut seen, mut waits) = (Self::default(), Vec::new());
        for glance in glances {
            seen.asked += 1;
            match glance.saw {
                Saw::Answer => seen.let_through += 1,
                Saw::Refused => seen.refused += 1,
                Saw::Nothing => seen.unanswered += 1,
            }
            waits.push(glance.waited);
        }
        waits.sort_unstable();
        let within = |percent: usize| {
            let index = (waits.len() * percent / 100).min(waits.len().saturating_sub(1));
            waits.get(index).copied().map_or(0, microseconds)
        };
        Self { p90_us: within(90), p99_us: within(99), ..seen }
    }
}

impl NoiseReport {
    fn new(scenes: Scenes, noisy: &[Glance], others: &[Glance]) -> Self {
        let Scenes { noise, bad_minute } = scenes;
        let in_noise = |glance: &&Glance| (noise.begins..noise.ends).contains(&glance.at);
        let in_quiet = |glance: &&Glance| (bad_minute.quiet_from..bad_minute.begins).contains(&glance.at);
        let first = noisy.iter().map(|glance| glance.at).min();
        let last = noisy.iter().map(|glance| glance.at + glance.waited).max();
        let time = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
        let mut report = Self {
            length_ms: microseconds(noise.length()) / 1_000,
            noisy: Seen::of(noisy.iter()),
            let_through_max: u64::from(RESELLER_BURST) + allowed_in(time),
            others: Seen::of(others.iter().filter(in_noise)),
            others_in_quiet: Seen::of(others.iter().filter(in_quiet)),
            broken_promises: Vec::new(),
            is_meaningful: false,
        };
        report.is_meaningful = report.noisy.asked >= TIMES_MIN * allowed_in(noise.length())
            && report.noisy.refused > 0
            && report.others.let_through >= ANSWERS_MIN
            && report.others_in_quiet.let_through >= ANSWERS_MIN;
        report.broken_promises = report.judge();
        report
    }

    /// What must not be, and is.
    fn judge(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let (let_through, max) = (self.noisy.let_through, self.let_through_max);
        if let_through > max {
            broken.push(format!("the noisy reseller got {let_through} requests through, and may {max}"));
        }
        for (seen, when) in [(&self.others, "in the noise"), (&self.others_in_quiet, "in quiet")] {
            if seen.refused > 0 {
                broken.push(format!("{} requests of other resellers were refused {when}", seen.refused));
            }
            if seen.unanswered > 0 {
                broken.push(format!("{} requests of other resellers failed {when}", seen.unanswered));
            }
        }
        let (quiet, noise) = (self.others_in_quiet.p90_us, self.others.p90_us);
        if noise > quiet * SLOWER_TIMES + microseconds(SLOWER_BY) {
            let (quiet, noise) = (milliseconds(quiet), milliseconds(noise));
            broken.push(format!("nine of ten other resellers waited {noise} in the noise, not {quiet}"));
        }
        broken
    }

    /// The title of the report for people, and its rows: what, in quiet, in the noise.
    pub(super) fn rows(&self) -> (String, Vec<(String, String, String)>) {
        let length = self.length_ms as f64 / 1_000.0;
        let title = format!("a reseller asks {} times as often as it may: {length:.1} s", noise::TIMES);
        let alone = |name: String, count: u64| (name, String::new(), count.to_string());
        let both = |name: &str, of: fn(&Seen) -> String| {
            (name.to_owned(), of(&self.others_in_quiet), of(&self.others))
        };
        let rows = vec![
            alone("its requests".to_owned(), self.noisy.asked),
            alone("  refused, 429".to_owned(), self.noisy.refused),
            alone(format!("  let through (at most {})", self.let_through_max), self.noisy.let_through),
            both("requests of the other resellers", |seen| seen.asked.to_string()),
            both("  refused (must be 0)", |seen| seen.refused.to_string()),
            both("  nine of ten answered within", |seen| milliseconds(seen.p90_us)),
            both("  99 of 100 answered within", |seen| milliseconds(seen.p99_us)),
        ];
        (title, rows)
    }
}

/// How many requests a reseller's rate allows in so long.
fn allowed_in(time: Duration) -> u64 {
    microseconds(time) * u64::from(RESELLER_PER_SECOND) / 1_000_000
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenes() -> Scenes {
        Scenes::within(Duration::from_secs(20), Instant::now()).expect("there is time for them")
    }

    fn glances(from: Instant, saw: Saw, waited_ms: u64, count: u32) -> Vec<Glance> {
        let waited = Duration::from_millis(waited_ms);
        (0..count)
            .map(|number| Glance { at: from + Duration::from_millis(4) * number, waited, saw })
            .collect()
    }

    /// What they see where everything is as it should be: the noisy one, and the others.
    fn good(scenes: Scenes) -> (Vec<Glance>, Vec<Glance>) {
        let noisy = [
            glances(scenes.noise.begins, Saw::Answer, 1, 7),
            glances(scenes.noise.begins, Saw::Refused, 1, 480),
        ];
        let others = [
            glances(scenes.noise.begins, Saw::Answer, 3, 100),
            glances(scenes.bad_minute.quiet_from, Saw::Answer, 2, 100),
        ];
        (noisy.concat(), others.concat())
    }

    #[test]
    fn finds_nothing_wrong_where_only_the_noisy_one_was_refused() {
        let scenes = scenes();
        let (noisy, others) = good(scenes);
        let report = NoiseReport::new(scenes, &noisy, &others);
        assert_eq!(report.broken_promises, Vec::<String>::new());
        assert!(report.is_meaningful);
        // Five at once, and five a second for the 1.917 seconds from its first request to its last answer.
        assert_eq!((report.noisy.let_through, report.let_through_max), (7, 14));
        assert_eq!((report.others.p99_us, report.others_in_quiet.p99_us), (3_000, 2_000));
    }

    #[test]
    fn finds_every_promise_that_was_not_kept() {
        let scenes = scenes();
        let (noisy, others) = good(scenes);
        let and = |glances: &[Glance], more: Vec<Glance>| [glances, &more].concat();
        let begins = scenes.noise.begins;
        for (noisy, others, words) in [
            (and(&noisy, glances(begins, Saw::Answer, 1, 8)), others.clone(), "got 15 requests through"),
            (
                noisy.clone(),
                and(&others, glances(begins, Saw::Refused, 1, 1)),
                "1 requests of other resellers were",
            ),
            (noisy.clone(), and(&others, glances(begins, Saw::Nothing, 1, 2)), "failed in the noise"),
            (noisy.clone(), and(&others, glances(begins, Saw::Answer, 157, 50)), "waited 157.0 ms"),
        ] {
            let report = NoiseReport::new(scenes, &noisy, &others);
            let [broken] = report.broken_promises.as_slice() else { panic!("{words}: {report:?}") };
            assert!(broken.contains(words), "{broken}");
        }
    }

    #[test]
    fn too_little_noise_or_too_few_others_prove_nothing() {
        let scenes = scenes();
        let (noisy, others) = good(scenes);
        assert!(!NoiseReport::new(scenes, &noisy[..90], &others).is_meaningful);
        assert!(!NoiseReport::new(scenes, &noisy, &others[..100]).is_meaningful);
        assert!(!NoiseReport::new(scenes, &noisy, &others[100..]).is_meaningful);
        assert!(!NoiseReport::new(scenes, &[], &[]).is_meaningful);
    }
}
