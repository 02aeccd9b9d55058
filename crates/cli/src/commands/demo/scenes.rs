//! What a run shows one after the other, while nothing else goes wrong: a noisy reseller, a quiet time with which both
//! are compared, and the bank's bad minute. A run that is too short has none of them.

use std::time::Duration;

use tokio::time::Instant;

use super::{bad_minute::BadMinute, noise::Noise};

/// When each of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenes {
    pub(super) noise: Noise,
    pub(super) bad_minute: BadMinute,
}

impl Scenes {
    /// Those of a run of `time` that begins at `begun`; none where there is no time for them.
    pub(super) fn within(time: Duration, begun: Instant) -> Option<Self> {
        let bad_minute = BadMinute::within(time, begun)?;
        Some(Self { noise: Noise::before(bad_minute), bad_minute })
    }

    /// Whether something else may go wrong then.
    pub(super) fn tolerate(&self, at: Instant) -> bool {
        // What was knocked over shortly before has to stand again.
        at + self.bad_minute.length() / 4 < self.noise.begins || at > self.bad_minute.watched_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_lie_within_their_run_one_after_the_other() {
        let begun = Instant::now();
        for seconds in [5, 8, 20, 60, 600, 36_000] {
            let time = Duration::from_secs(seconds);
            let scenes = Scenes::within(time, begun).expect("there is time for them");
            let Scenes { noise, bad_minute } = scenes;
            assert!(begun < noise.begins && noise.begins < noise.ends, "{seconds} s");
            assert!(noise.ends < bad_minute.quiet_from, "{seconds} s");
            assert!(!scenes.tolerate(noise.begins) && !scenes.tolerate(noise.ends), "{seconds} s");
            assert!(
                !scenes.tolerate(bad_minute.quiet_from) && !scenes.tolerate(bad_minute.ends),
                "{seconds} s"
            );
            assert!(scenes.tolerate(begun + time), "{seconds} s");
        }
        let long = Scenes::within(Duration::from_secs(20), begun).expect("there is time for them");
        assert!(long.tolerate(begun));
        assert_eq!(Scenes::within(Duration::from_secs(4), begun), None);
    }
}
