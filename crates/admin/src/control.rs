//! What the admin API needs of the gateway that it belongs to.

use std::time::Duration;

use steadfast_core::{Ban, BanSubject, Owner, Timestamp, circuit::CircuitView};
use steadfast_ledger::{BoxFuture, Enqueue, KeptRequest, Lane, OperationName, Redrive};

use crate::api::{ExplainedView, LimitCountView, LimitCountsQuery, LimitRaiseRequest, LimitsView};

/// Knows whether the gateway wants to be sent requests.
pub trait Readiness: Send + Sync + 'static {
    /// Whether it takes no more requests, finishes what is under way and ends. Must not block.
    fn is_draining(&self) -> bool;

    /// How the store is that nodes share, where there is one. Must not block.
    fn shared(&self) -> Option<SharedCheck> {
        None
    }
}

/// How the store is that nodes share. Without it the gateway serves on, so it is ready all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedCheck {
    /// Whether it answers.
    pub ok: bool,
    /// What is to be said of that.
    pub detail: String,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// What is worth knowing of it, one sentence each: what changed, or warnings about the file.
    pub notes: Vec<String>,
}

/// What a gateway keeps of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheHolds {
    /// How many targets it has answers of.
    pub targets: u64,
    /// How many bytes they take up, about.
    pub bytes: u64,
    /// How many they may.
    pub bytes_max: u64,
}

/// What it is to forget of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// All answers of this URL, or of this path and query on every host.
    Url(String),
    /// All answers of URLs, or of paths, that begin with this.
    Prefix(String),
    /// All answers with this tag.
    Tag(String),
    /// All answers.
    All,
}

/// Operates the gateway.
pub trait Control: Send + Sync + 'static {
    /// Reads the config file again and puts it in force as a whole.
    ///
    /// # Errors
    /// The reason in words, for people: the config in force stays.
    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, String>>;

    /// The config in force as TOML, with defaults and overrides filled in and secrets left out.
    fn effective_config(&self) -> String;

    /// Where a reload takes the config from.
    fn config_origin(&self) -> ConfigOrigin;

    /// What time it is on the gateway's clock.
    fn now(&self) -> Timestamp;

    /// The authenticators that take API keys, by name, and what their keys begin with.
    fn key_prefixes(&self) -> Vec<(String, String)>;

    /// Returns when the gateway goes by what the ledger knows now of credentials, or cannot.
    fn credentials_changed(&self) -> BoxFuture<'_, ()>;

    /// Whether no ban keeps this subject out.
    fn is_never_banned(&self, subject: &BanSubject) -> bool;

    /// The bans that hold and stand in no ledger: those of the config, and those that would hold, were they acted on; each
    /// with whether it is only noted.
    fn bans_beside_the_ledger(&self) -> Vec<(Ban, bool)>;

    /// Returns when the gateway goes by what the ledger knows now of bans, and the ledger knows whom the gateway banned; or
    /// they cannot. `made_by_hand`: a person made one.
    fn bans_changed(&self, made_by_hand: bool) -> BoxFuture<'_, ()>;

    /// What is kept of answers just now.
    fn cache(&self) -> CacheHolds;

    /// Forgets kept answers; how many that were.
    fn purge(&self, forget: &Forget) -> u64;

    /// Who called which version of an API, as this node counted it; of each the busiest callers first.
    fn usage(&self) -> Vec<UsageReport>;

    /// The endpoints of every upstream.
    fn endpoints(&self) -> Vec<EndpointReport>;

    /// Does by hand what somebody wants of an upstream's circuits: of all, or of that of one endpoint. How many there
    /// were is returned.
    ///
    /// # Errors
    /// The order means no circuit.
    fn order_circuits(
        &self,
        upstream: &str,
        endpoint: Option<&str>,
        order: CircuitOrder,
    ) -> Result<CircuitOrdered, OrderRefused>;

    /// The names of the routes that let something happen in the background.
    fn work_routes(&self) -> Vec<String>;

    /// What a dead letter of this route gets that goes round again; `None` where nobody can send it.
    fn chance(&self, route: &str) -> Option<Redrive>;

    /// Counts a dead letter that was sent round again by hand.
    fn note_redriven(&self, route: &str);

    /// As what an edited letter is accepted, by its route's policy now.
    ///
    /// # Errors
    /// [`EditRefused`]: it is not.
    fn edited(&self, letter: EditedLetter) -> Result<Enqueue, EditRefused>;

    /// What this node remembers of requests with this id, the newest first.
    fn explained(&self, request_id: &str) -> Vec<ExplainedView>;

    /// The limits on callers, and what they did.
    fn limits(&self) -> LimitsView;

    /// How the counts of one caller stand; with `reset`, they are forgotten after that.
    ///
    /// # Errors
    /// [`LimitsRefused`]: nothing changed.
    fn limit_counts<'a>(
        &'a self,
        whose: &'a LimitCountsQuery,
        reset: bool,
    ) -> BoxFuture<'a, Result<Vec<LimitCountView>, LimitsRefused>>;

    /// Allows a caller more for `time`, or ends that where the factor is one. How many orders hold or were ended is
    /// returned.
    ///
    /// # Errors
    /// [`LimitsRefused`]: nothing changed.
    fn raise_limits(&self, order: &LimitRaiseRequest, time: Duration) -> Result<usize, LimitsRefused>;
}

/// A dead letter as somebody edited it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedLetter {
    /// The name of what it is now.
    pub name: OperationName,
    /// Who made the original.
    pub owner: Owner,
    /// The route it came by.
    pub route: Box<str>,
    /// The request's method.
    pub method: Box<str>,
    /// What to send.
    pub request: KeptRequest,
    /// The lane in which the original stands.
    pub lane: Option<Lane>,
}

/// An edited letter is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditRefused {
    /// Nobody can send it: its route is gone, or lets nothing happen in the background.
    #[error("nobody can send what came by its route")]
    NoRoute,
    /// Its body is longer than its route keeps.
    #[error("its route keeps bodies of {0} bytes at most")]
    TooLarge(usize),
}

/// An order for limits was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsRefused {
    /// There is no limit of that name.
    #[error("there is no such limit")]
    NoSuchLimit,
    /// Too many are raised already.
    #[error("too many are raised at once")]
    TooMany,
    /// The counts that nodes share could not be reached.
    #[error("the shared counts cannot be reached: {0}")]
    Lost(String),
}

/// What one caller did with a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// The version's name.
    pub version: String,
    /// Who called it.
    pub by: UsageBy,
    /// How many requests there were.
    pub requests: u64,
    /// How many of them were refused, in a brownout or after the version's end.
    pub refused: u64,
    /// When the first one came.
    pub first: Timestamp,
    /// When the last one came.
    pub last: Timestamp,
}

/// Who called a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageBy {
    /// A verified principal, by its name.
    Principal(String),
    /// The holder of an unverified credential, by its digest in hexadecimal.
    Credential(String),
    /// Somebody who showed none.
    Anonymous,
    /// All those for whom there was no room in the table any more.
    Others,
}

/// One endpoint of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointReport {
    /// The upstream's name.
    pub upstream: String,
    /// Where it is.
    pub endpoint: String,
    /// Whether checks found it well.
    pub is_healthy: bool,
    /// How many requests are under way there; counted where the upstream has several endpoints.
    pub in_flight: u64,
    /// What a call costs there, likewise.
    pub cost: Option<Duration>,
    /// Its circuit, where it has one.
    pub circuit: Option<CircuitReport>,
}

/// One circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitReport {
    /// How it stands.
    pub view: CircuitView,
    /// How long it has.
    pub age: Duration,
    /// For how much longer it is open, or held by hand.
    pub left: Option<Duration>,
    /// Whether it is acted on.
    pub is_enforced: bool,
}

/// What somebody wants of an upstream's circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitOrder {
    /// To let nothing through for so long.
    Open(Duration),
    /// To let everything through for so long.
    Closed(Duration),
    /// To go by what happens, from a clean slate.
    Automatic,
}

/// How many circuits an order meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOrdered(pub usize);

/// An order for circuits means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    /// There is no upstream of that name.
    #[error("there is no such upstream")]
    NoSuchUpstream,
    /// It has no circuits: the config says nothing of them.
    #[error("the upstream has no circuit")]
    NoCircuit,
    /// It has no endpoint there.
    #[error("the upstream has no such endpoint")]
    NoSuchEndpoint,
}

/// Where a gateway's config comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigOrigin {
    /// The file; none where the gateway was started without one.
    pub file: Option<String>,
    /// The settings that a flag or a variable goes before, each with what does.
    pub overridden: Vec<(String, String)>,
}
