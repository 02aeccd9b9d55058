//! What is to go wrong: the plan of a proxy, as a test writes it in Rust or sends it as JSON.
//!
//! Every fault stands beside a [`When`], so that one vocabulary says how often, for whom and how many times.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest delay a plan may ask for: one hour, in milliseconds.
pub const DELAY_MS_MAX: u64 = 3_600_000;

/// One of the two ways that bytes travel through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream: requests.
    TowardUpstream,
    /// From the upstream to the client: replies.
    TowardClient,
}

/// All the faults of a proxy; the default injects none.
///
/// As JSON every field is optional and unknown fields are refused:
/// ```json
#[doc = include_str!("../plan.example.json")]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Seeds every draw; without it the proxy keeps the seed it has, or picks one at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Accept a connection and reset it at once (always drawn per connection).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<Refuse>,
    /// Let the upstream do the work, then swallow its reply and end the client's connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reply: Option<DropReply>,
    /// What happens to requests on their way.
    #[serde(skip_serializing_if = "Faults::is_empty")]
    pub toward_upstream: Faults,
    /// What happens to replies on their way.
    #[serde(skip_serializing_if = "Faults::is_empty")]
    pub toward_client: Faults,
}

/// The faults of one direction; those that are set add up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Forward every byte later than it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Forward a few bytes at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// Forward no more than so many bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Reset both connections (RST) after so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
    /// Close both connections in order (FIN) after so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<Truncate>,
    /// End this direction (FIN) after so many bytes while the other goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_close: Option<HalfClose>,
    /// Forward nothing and keep the connection open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hang: Option<Hang>,
}

/// How often, for whom and how many times a fault strikes; by default always, drawn per connection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// The chance of each draw, from 0 to 1 (default 1).
    pub probability: f64,
    /// What one draw decides for (default a connection).
    pub scope: Scope,
    /// How many successful draws pass unharmed first (default 0).
    #[serde(skip_serializing_if = "is_zero")]
    pub skip: u64,
    /// How many successful draws strike after that, over all connections (default without end).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// What one draw of a fault decides for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One draw when the connection opens; bytes are counted over the whole connection.
    #[default]
    Connection,
    /// One draw whenever the client begins to speak after it was answered; bytes are counted from there.
    ///
    /// Turns are told apart by who speaks, without reading the protocol (but for HTTP's 1xx replies, which
    /// are not taken for the answer), so pipelined requests count as one exchange.
    Exchange,
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goodbye {
    /// In order: the peer reads the end of the stream (FIN).
    #[default]
    Close,
    /// At once: the peer's next read fails (RST).
    Reset,
}

/// Accepts a connection and resets it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refuse {
    /// When it strikes; its scope must be the connection.
    pub when: When,
}

/// Swallows the reply to a request that was forwarded whole.
///
/// The client's connection ends at the first byte of the reply. The upstream's stays open, and is read, until
/// it falls silent, so that the upstream never learns that its answer was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DropReply {
    /// How the client's connection is ended (default `close`).
    pub then: Goodbye,
    /// When it strikes.
    pub when: When,
}

/// Delays bytes by a fixed time and a uniformly drawn one; their order is kept.
///
/// At most 128 KiB wait in one direction, so a delay also bounds throughput, as a TCP window does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// Added to every piece of data, in milliseconds (at most an hour).
    pub fixed_ms: u64,
    /// Up to this much is added on top, drawn for each piece, in milliseconds (at most an hour).
    pub jitter_ms: u64,
    /// When it strikes.
    pub when: When,
}

/// Forwards a few bytes, waits, forwards the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// How many bytes go at once (at least 1).
    pub chunk_bytes: u64,
    /// The pause after each chunk, in milliseconds (at least 1, at most an hour).
    pub every_ms: u64,
    /// When it strikes.
    #[serde(default)]
    pub when: When,
}

/// Forwards no more than so many bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// The rate (at least 1).
    pub bytes_per_second: u64,
    /// When it strikes.
    #[serde(default)]
    pub when: When,
}

/// Resets both connections (RST) once so many bytes have passed; with 0, at the first byte, which does not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reset {
    /// How many bytes still pass.
    pub after_bytes: u64,
    /// When it strikes.
    pub when: When,
}

/// Closes both connections in order (FIN) once so many bytes have passed; with 0, at the first byte, which does not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Truncate {
    /// How many bytes still pass.
    pub after_bytes: u64,
    /// When it strikes.
    pub when: When,
}

/// Ends one direction (FIN) once so many bytes have passed; what follows is discarded, the other direction goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HalfClose {
    /// How many bytes still pass.
    pub after_bytes: u64,
    /// When it strikes.
    pub when: When,
}

/// Forwards nothing and keeps the connection open, like a network that lost its route.
///
/// It ends when the plan is replaced (the bytes then flow on), when the connections are severed, or when the
/// client closes its side, which is taken as giving up: what was on its way is then lost. (A client that
/// left is not noticed behind more than 128 KiB that it sent.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hang {
    /// When it strikes.
    pub when: When,
}

/// Why a plan was not accepted; each names the field as in the JSON.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PlanError {
    /// A chance outside 0 to 1.
    #[error("{field} is {value}; a probability lies from 0 to 1")]
    Probability {
        /// The field's path.
        field: String,
        /// What it said.
        value: f64,
    },
    /// A number outside its bounds.
    #[error("{field} is {value}; it must lie from {min} to {max}")]
    OutOfBounds {
        /// The field's path.
        field: String,
        /// What it said.
        value: u64,
        /// The smallest that is accepted.
        min: u64,
        /// The largest that is accepted.
        max: u64,
    },
    /// A refusal can only be drawn per connection: there is no exchange yet.
    #[error("refuse.when.scope is exchange; a connection is refused before its first exchange")]
    RefusePerExchange,
}

impl Direction {
    /// The name of the direction in plans and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Direction::TowardUpstream => "toward_upstream",
            Direction::TowardClient => "toward_client",
        }
    }
}

impl Plan {
    /// The faults of one direction.
    pub fn faults(&self, direction: Direction) -> &Faults {
        match direction {
            Direction::TowardUpstream => &self.toward_upstream,
            Direction::TowardClient => &self.toward_client,
        }
    }

    /// Checks every number against its bounds.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn validate(&self) -> Result<(), PlanError> {
        check("", &self.refuse)?;
        if self.refuse.is_some_and(|refuse| refuse.when.scope == Scope::Exchange) {
            return Err(PlanError::RefusePerExchange);
        }
        check("", &self.drop_reply)?;
        for direction in [Direction::TowardUpstream, Direction::TowardClient] {
            let prefix = format!("{}.", direction.name());
            let faults = self.faults(direction);
            check(&prefix, &faults.latency)?;
            check(&prefix, &faults.slow)?;
            check(&prefix, &faults.bandwidth)?;
            check(&prefix, &faults.reset)?;
            check(&prefix, &faults.truncate)?;
            check(&prefix, &faults.half_close)?;
            check(&prefix, &faults.hang)?;
        }
        Ok(())
    }
}

impl Faults {
    /// True where nothing is to go wrong.
    pub fn is_empty(&self) -> bool {
        *self == Faults::default()
    }
}

impl Default for When {
    fn default() -> Self {
        When { probability: 1.0, scope: Scope::Connection, skip: 0, times: None }
    }
}

impl When {
    /// Every exchange.
    pub fn every_exchange() -> Self {
        When { scope: Scope::Exchange, ..When::default() }
    }

    /// The next `count` exchanges, over all connections.
    pub fn next_exchanges(count: u64) -> Self {
        When { times: Some(count), ..When::every_exchange() }
    }

    /// The next `count` connections.
    pub fn next_connections(count: u64) -> Self {
        When { times: Some(count), ..When::default() }
    }

    /// The same with a chance of `probability` (0 to 1) at each draw.
    pub fn with_probability(self, probability: f64) -> Self {
        When { probability, ..self }
    }

    /// The same after `count` successful draws that pass unharmed.
    pub fn after_skipping(self, count: u64) -> Self {
        When { skip: count, ..self }
    }
}

/// Which fault a type stands for: it names the JSON field and keeps the draws of different faults apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Refuse,
    DropReply,
    Latency,
    Slow,
    Bandwidth,
    Reset,
    Truncate,
    HalfClose,
    Hang,
}

impl Kind {
    pub(crate) const COUNT: usize = Kind::Hang as usize + 1;

    fn name(self) -> &'static str {
        match self {
            Kind::Refuse => "refuse",
            Kind::DropReply => "drop_reply",
            Kind::Latency => "latency",
            Kind::Slow => "slow",
            Kind::Bandwidth => "bandwidth",
            Kind::Reset => "reset",
            Kind::Truncate => "truncate",
            Kind::HalfClose => "half_close",
            Kind::Hang => "hang",
        }
    }
}

/// What all faults have in common.
pub(crate) trait Fault: Copy {
    const KIND: Kind;

    fn when(&self) -> &When;

    /// The fault's own numbers as (field, value, min, max).
    fn bounds(&self) -> Vec<(&'static str, u64, u64, u64)> {
        Vec::new()
    }
}

macro_rules! fault {
    ($fault:ident $(, $field:ident: $min:expr, $max:expr)*) => {
        impl Fault for $fault {
            const KIND: Kind = Kind::$fault;

            fn when(&self) -> &When {
                &self.when
            }

            fn bounds(&self) -> Vec<(&'static str, u64, u64, u64)> {
                vec![$((stringify!($field), self.$field, $min, $max)),*]
            }
        }
    };
}

fault!(Refuse);
fault!(DropReply);
fault!(Latency, fixed_ms: 0, DELAY_MS_MAX, jitter_ms: 0, DELAY_MS_MAX);
fault!(Slow, chunk_bytes: 1, u64::MAX, every_ms: 1, DELAY_MS_MAX);
fault!(Bandwidth, bytes_per_second: 1, u64::MAX);
fault!(Reset);
fault!(Truncate);
fault!(HalfClose);
fault!(Hang);

fn check<F: Fault>(prefix: &str, fault: &Option<F>) -> Result<(), PlanError> {
    let Some(fault) = fault else { return Ok(()) };
    let name = F::KIND.name();
    let probability = fault.when().probability;
    if !(0.0..=1.0).contains(&probability) {
        let field = format!("{prefix}{name}.when.probability");
        return Err(PlanError::Probability { field, value: probability });
    }
    for (field, value, min, max) in fault.bounds() {
        if !(min..=max).contains(&value) {
            let field = format!("{prefix}{name}.{field}");
            return Err(PlanError::OutOfBounds { field, value, min, max });
        }
    }
    Ok(())
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../plan.example.json");

    #[test]
    fn the_documented_example_is_valid_and_survives_a_round_trip() {
        let plan: Plan = serde_json::from_str(EXAMPLE).unwrap();
        plan.validate().unwrap();
        assert_eq!(plan.drop_reply.unwrap().then, Goodbye::Reset);
        let again: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(plan, again);
    }

    #[test]
    fn an_empty_object_is_a_plan_without_faults() {
        assert_eq!(serde_json::from_str::<Plan>("{}").unwrap(), Plan::default());
        assert_eq!(serde_json::to_string(&Plan::default()).unwrap(), "{}");
    }

    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        for json in [
            r#"{"latencey": {}}"#,
            r#"{"toward_client": {"lag": {}}}"#,
            r#"{"toward_client": {"latency": {"fixed": 1}}}"#,
            r#"{"toward_client": {"latency": {"when": {"chance": 1}}}}"#,
            r#"{"toward_upstream": {"drop_reply": {}}}"#,
        ] {
            let error = serde_json::from_str::<Plan>(json).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{json}: {error}");
        }
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_by_their_path() {
        for (json, said) in [
            (r#"{"drop_reply": {"when": {"probability": 2}}}"#, "drop_reply.when.probability is 2"),
            (r#"{"refuse": {"when": {"probability": -0.1}}}"#, "refuse.when.probability is -0.1"),
            (r#"{"refuse": {"when": {"scope": "exchange"}}}"#, "refuse.when.scope is exchange"),
            (r#"{"toward_client": {"bandwidth": {"bytes_per_second": 0}}}"#, "bytes_per_second is 0"),
            (r#"{"toward_client": {"slow": {"chunk_bytes": 0, "every_ms": 1}}}"#, "slow.chunk_bytes is 0"),
            (
                r#"{"toward_upstream": {"latency": {"fixed_ms": 3600001}}}"#,
                "toward_upstream.latency.fixed_ms",
            ),
        ] {
            let plan: Plan = serde_json::from_str(json).unwrap();
            let error = plan.validate().unwrap_err().to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
        let nan = Plan {
            refuse: Some(Refuse { when: When::default().with_probability(f64::NAN) }),
            ..Plan::default()
        };
        assert!(nan.validate().is_err());
    }
}
