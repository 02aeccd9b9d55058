//! What goes wrong: answers get lost on both sides of the gateway, the bank is moody, and the gateway is killed.

use std::time::Duration;

use box_office::BankTemper;
use steadfast_faults::{DropReply, Faults, Goodbye, Hang, Latency, Plan, Reset, Truncate, When};
use tokio::time::{Instant, sleep, sleep_until};

use super::{dice::Dice, gateway::Gateway, scenes::Scenes, tally::Tally};

/// The pause between two kills, in milliseconds.
const KILL_EVERY_MS: (u64, u64) = (1_800, 4_200);
/// How long the gateway stays away, in milliseconds.
const DOWN_MS: (u64, u64) = (30, 300);
/// No kill comes so late that nothing happens after it.
const LAST_KILL_BEFORE_END: Duration = Duration::from_millis(700);
/// How often the gateway is looked after between two kills.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn some_exchanges(probability: f64) -> When {
    When::every_exchange().with_probability(probability)
}

/// Customers lose answers: dropped whole, cut off in the middle, reset before they asked, or silent for good.
pub(super) fn between_customers_and_gateway(seed: u64) -> Plan {
    Plan {
        seed: Some(seed),
        drop_reply: Some(DropReply { then: Goodbye::Close, when: some_exchanges(0.06) }),
        toward_upstream: Faults {
            reset: Some(Reset { after_bytes: 0, when: some_exchanges(0.015) }),
            ..Faults::default()
        },
        toward_client: Faults {
            latency: Some(Latency { fixed_ms: 1, jitter_ms: 15, when: When::every_exchange() }),
            truncate: Some(Truncate { after_bytes: 60, when: some_exchanges(0.01) }),
            hang: Some(Hang { when: some_exchanges(0.005) }),
            ..Faults::default()
        },
        ..Plan::default()
    }
}

/// The gateway loses answers too, after the effect and before it, and some come too late: those are in doubt.
pub(super) fn between_gateway_and_office(seed: u64) -> Plan {
    Plan {
        seed: Some(seed.wrapping_add(1)),
        drop_reply: Some(DropReply { then: Goodbye::Reset, when: some_exchanges(0.012) }),
        toward_upstream: Faults {
            reset: Some(Reset { after_bytes: 0, when: some_exchanges(0.006) }),
            ..Faults::default()
        },
        toward_client: Faults {
            latency: Some(Latency { fixed_ms: 2_100, jitter_ms: 800, when: some_exchanges(0.005) }),
            ..Faults::default()
        },
        ..Plan::default()
    }
}

/// A bank that is slow, busy, broken or silent now and then.
pub(super) fn bank_temper(seed: u64) -> BankTemper {
    BankTemper {
        seed: seed.wrapping_add(2),
        latency_ms_min: 2,
        latency_ms_max: 40,
        refuse_ratio: 0.06,
        fail_after_ratio: 0.008,
        lose_ratio: 0.008,
    }
}

/// Kills the gateway at random moments and starts it again, at least once; returns when the time is up, with the
/// gateway running. It is left alone while a scene is shown.
///
/// # Errors
/// The gateway ended by itself, or did not come back.
pub(super) async fn rage(
    gateway: &mut Gateway,
    seed: u64,
    time: Duration,
    tally: &Tally,
    scenes: Option<Scenes>,
) -> anyhow::Result<()> {
    let mut dice = Dice::new(seed, u64::MAX);
    let begun = Instant::now();
    let end = begun + time;
    // The first kill comes in the second quarter of a short run.
    let quarter_ms = u64::try_from(time.as_millis() / 4).unwrap_or(u64::MAX).clamp(1, 1_200);
    let mut kill_at = begun + Duration::from_millis(dice.between(quarter_ms, 2 * quarter_ms));
    let mut first = true;
    while first || kill_at + LAST_KILL_BEFORE_END < end {
        first = false;
        if let Some(scenes) = scenes.filter(|scenes| !scenes.tolerate(kill_at)) {
            // One trouble at a time, or nobody could say which of them it was.
            kill_at = scenes.bad_minute.watched_until + LOOK_EVERY;
        }
        watch_until(gateway, kill_at).await?;
        let down = Duration::from_millis(dice.between(DOWN_MS.0, DOWN_MS.1));
        tally.kills.add_one();
        tally.tell("killed the gateway with SIGKILL, requests and all");
        gateway.kill()?;
        let gone = Instant::now();
        sleep(down).await;
        gateway.start().await?;
        tally.restarts.add_one();
        let away_ms = gone.elapsed().as_millis();
        tally.tell(format!("the gateway is back on the same ledger, after {away_ms} ms"));
        kill_at = Instant::now() + Duration::from_millis(dice.between(KILL_EVERY_MS.0, KILL_EVERY_MS.1));
    }
    watch_until(gateway, end).await
}

async fn watch_until(gateway: &mut Gateway, until: Instant) -> anyhow::Result<()> {
    while Instant::now() < until {
        gateway.require_running()?;
        sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
    }
    gateway.require_running()
}
