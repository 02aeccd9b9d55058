//! What became of one request, and why.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OperationDetail;

/// Everything that a node can say of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The id that was asked for.
    pub request_id: String,
    /// What this node remembers of requests with this id, the newest first: those that were refused, and slow ones.
    pub requests: Vec<ExplainedView>,
    /// The operations that they are about; where none of them names one, those that the ledger says requests with this id
    /// worked for. The newest first, 20 at most.
    pub operations: Vec<OperationDetail>,
    /// How far the ledger was searched.
    pub ledger: LedgerSearched,
}

/// How far the ledger was searched for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerSearched {
    /// Not at all: what the node remembers names the operation.
    Not,
    /// Its newest attempts at the most, because there was no time for more, another search was under way, or the node
    /// remembers the request.
    InPart,
    /// All of it, or until the request was found.
    Whole,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedView {
    /// When it arrived.
    pub at: String,
    /// Why it is remembered: `refused`, `slow`, or `left` (its caller did, after a long time).
    pub because: String,
    /// Its method.
    pub method: String,
    /// Its path, without its query.
    pub path: String,
    /// The name of the route that served it; `null` where none did.
    pub route: Option<String>,
    /// The address of who called.
    pub client: String,
    /// The status of its answer; `null` where its caller left before there was one.
    pub status: Option<u16>,
    /// How long its answer took to begin.
    pub took_ms: f64,
    /// What it was refused with; `null` where it was not, or by another service in its own words.
    pub refusal: Option<RefusalView>,
    /// The operation that it is about.
    pub operation: Option<String>,
    /// What was decided, in the order in which it began.
    pub steps: Vec<StepView>,
    /// How many steps found no room.
    pub steps_left_out: u32,
}

/// A refusal, as its caller read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalView {
    /// Its code.
    pub code: String,
    /// Which policy refused; `null` where none did that has a name.
    pub policy: Option<String>,
    /// What happened.
    pub detail: String,
    /// What to do next.
    pub next_step: String,
    /// In how many seconds to come again, from when it was refused.
    pub retry_after: Option<u64>,
}

/// What one part decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// How long after the request's arrival, in milliseconds.
    pub at_ms: f64,
    /// How long it took, where it took time and ended.
    pub took_ms: Option<f64>,
    /// Which part: `authenticate`, `limit`, `attempt`, ….
    pub part: String,
    /// What it decided: `passed`, `refused`, ….
    pub verdict: String,
    /// By what: numbers and words, by name.
    pub facts: Map<String, Value>,
}
