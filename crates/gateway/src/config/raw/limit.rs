//! What the config says of limits on callers.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{At, Percent, RawMode};

/// How much each caller may ask for. It applies to the routes that name it in `limits`, and counts over all of them
/// together. Who is refused gets 429 with the time to wait.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawLimit {
    /// Whose requests count together: `"principal"`, `"tenant"` or `"credential"` (of who was authenticated), `"ip"`
    /// (an IPv6 address counts with its /64), `"route"`, `"header:NAME"`, `"path"`, or `{ cel = "…" }` for what an
    /// expression over `method`, `path`, `query`, `headers`, `address`, `route` and `principal` comes to. A list of
    /// these counts each combination. Where one of them is missing, or a header is there twice, the address stands for
    /// it.
    pub(in crate::config) per: At<RawPer>,
    /// How it counts.
    #[schemars(extend("default" = "token_bucket"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) algorithm: Option<At<RawAlgorithm>>,
    /// How much in which time: `100/s`, `1000/min`, `5/10s`, `10000/d`, `1000000/month`. A fixed window in months goes
    /// by the calendar (UTC); elsewhere a month is 30 days. Of all algorithms but `concurrency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) rate: Option<At<String>>,
    /// Of a token bucket, how much may come at once after a pause; of a leaky one, how much may be waiting for its turn.
    /// As much as `rate` says unless stated.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) burst: Option<At<u64>>,
    /// How many requests at once. With `algorithm = "concurrency"` alone. A place is taken until the answer was sent.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max: Option<At<u64>>,
    /// What a request costs when it comes: a number, or an expression as for `per` that comes to one. 1 unless stated, or
    /// 0 with `cost_from_answer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cost: Option<At<RawCost>>,
    /// What it costs in all, where only its answer tells: `"bytes"` for those of its body, or `"header:NAME"` for the
    /// number in a header. What is more than `cost` is charged when the answer was sent, and what is less given back;
    /// so a caller may overdraw once, and waits longer then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cost_from_answer: Option<At<String>>,
    /// What holds instead for principals whose attribute `plan` is one of these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) plans: BTreeMap<String, At<RawPlan>>,
    /// Whether it refuses.
    #[schemars(extend("default" = "enforce"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<At<RawMode>>,
    /// On which part of the callers it is enforced, the same ones always; for the others it is in shadow mode.
    #[schemars(extend("default" = "100%", "x-min" = "1%", "x-max" = "100%"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) enforce: Option<At<Percent>>,
    /// Whether all nodes count it together, in the store that `shared` at the top names; they do where there is one,
    /// unless this is `false`. Of `concurrency` each node has its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) shared: Option<At<bool>>,
    /// What becomes of it while that store is lost: `share` unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_loss: Option<At<RawOnLoss>>,
}

/// What becomes of a shared limit while the store is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawOnLoss {
    /// Each node allows the limit divided by how many nodes there were.
    Share,
    /// Every request goes.
    Allow,
    /// Every request is refused.
    Deny,
}

/// What holds for principals on a plan. What it does not state is as the limit says.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawPlan {
    /// As of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) rate: Option<At<String>>,
    /// As of the limit. As much as the plan's own `rate` says where it states that alone.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) burst: Option<At<u64>>,
    /// As of the limit.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max: Option<At<u64>>,
}

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawAlgorithm {
    /// So much at an even pace, of which `burst` may come at once after a pause.
    TokenBucket,
    /// So much at an even pace; what comes sooner waits for its turn, within its deadline.
    LeakyBucket,
    /// So much in each period of the clock. Round the edge between two there may be twice as much.
    FixedWindow,
    /// No more than so much in any stretch of time as long as the period.
    SlidingWindow,
    /// So many requests at once.
    Concurrency,
}

/// The older fields that tell callers their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawLimitHeaders {
    /// `RateLimit-Policy` and `RateLimit`.
    Standard,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    Older,
    /// Both.
    Both,
    /// None; a refusal still says when to come again.
    None,
}

/// What refusals look like, for an API with an error format of its own.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawRefusal {
    /// The body, with `{code}`, `{title}`, `{detail}`, `{message}` (detail and next step), `{next_step}`, `{status}`,
    /// `{instance}` (the request's id), `{retry_after}`, `{policy}`, `{limit}` and `{remaining}` in it. In JSON, HTML and
    /// XML texts are escaped, and in JSON numbers that are not known are `null`.
    pub(in crate::config) body: At<String>,
    /// What the body is.
    #[schemars(extend("default" = "application/json"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) content_type: Option<At<String>>,
}

/// Whose requests count together; what it may be is checked later, where it can be said better what is wrong.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct RawPer(pub(in crate::config) toml::Value);

impl JsonSchema for RawPer {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Per".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "object", "properties": { "cel": { "type": "string" } }, "required": ["cel"], "additionalProperties": false },
        ] });
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }], "x-kind": "text, CEL or a list" })
    }
}

/// What a request costs; likewise.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct RawCost(pub(in crate::config) toml::Value);

impl JsonSchema for RawCost {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }],
            "x-kind": "number or CEL",
        })
    }
}
