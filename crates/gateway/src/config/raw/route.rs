//! What the config says of a route.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    At, RawBackground, RawCache, RawFallback, RawIdempotency, RawLifecycle, RawLimitHeaders, RawPriority,
    RawRefusal, RawRetry, RawRouteAuthentication, Time,
};

/// One route: which requests go where, and under which policies.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawRoute {
    /// Which paths it serves: `/payments` is that path alone, `/orders/{id}/items` has one segment, whichever, for
    /// `{id}`, `/files/*` is everything below, `/*` everything. Compared with the path as it is sent.
    pub(in crate::config) path: At<String>,
    /// Which hosts it serves: `api.example.com` is that host alone, `*.example.com` every host below it. In any
    /// case, on any port. Any host unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hosts: Option<At<Vec<At<String>>>>,
    /// Its name in metrics, logs and namespaces; its path unless stated. Two routes never share one. To change it
    /// is to forget the keys of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) name: Option<At<String>>,
    /// Which methods it serves. All of them unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) methods: Option<At<Vec<At<String>>>>,
    /// What headers must say, all of it: `{ x-api-version = "2", x-beta = true }` asks for exactly that value of the
    /// one and that the other is there. Nothing unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers: Option<At<BTreeMap<String, At<RawHeaderCondition>>>>,
    /// The name of the upstream that it forwards to.
    pub(in crate::config) upstream: At<String>,
    /// By when its callers must have an answer. None unless stated.
    #[schemars(extend("x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) deadline: Option<At<Time>>,
    /// Who may use it, and who finds out who is calling. Anybody without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) authentication: Option<At<RawRouteAuthentication>>,
    /// How important its requests are where the upstream's `concurrency` does not let all of them in.
    #[schemars(extend("default" = "normal"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) priority: Option<At<RawPriority>>,
    /// How its retried writes take effect once. It applies to the route's methods except GET, HEAD, OPTIONS and
    /// TRACE; to POST and PATCH where the route names no methods. Without it, requests stream straight through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idempotency: Option<At<RawIdempotency>>,
    /// How its requests are done in the background: accepted with a 202, and sent by a worker. It applies to the methods
    /// that `idempotency` does, whose defaults hold without it. `"always"` is short for `{ mode = "always" }`. Nothing is
    /// unless stated.
    #[serde(rename = "async", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) background: Option<At<RawBackground>>,
    /// How its requests are tried again. What it does not state is as the upstream's `retry` says; `{ attempts = 1 }`
    /// turns it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) retry: Option<At<RawRetry>>,
    /// How its answers to GET are kept and given again. Nothing is kept without it; `{}` goes by the answers' headers
    /// alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cache: Option<At<RawCache>>,
    /// What a GET or HEAD is answered where the upstream brings nothing, or a 500, 502, 503 or 504. Without it, the
    /// caller gets the refusal, or what the upstream said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) fallback: Option<At<RawFallback>>,
    /// Which pages of other origins may use it from a browser. Preflights are then answered here, and the answers'
    /// `Access-Control-…` headers are the gateway's. Without it, all of that is left to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cors: Option<At<RawCors>>,
    /// What every answer says of the end of the version that it serves, refusals and replays among them. Nothing unless
    /// stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) lifecycle: Option<At<RawLifecycle>>,
    /// Whether a PUT or PATCH must say by `If-Match` what it changes, or by `If-None-Match: *` that it creates. Others
    /// are answered 428.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) require_precondition: Option<At<bool>>,
    /// Whether it stands in the document that `document` publishes, and is told of in the upstream's own.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) documented: Option<At<bool>>,
    /// The names of the limits that its callers are held to, eight at most. All are asked at once, and where one refuses
    /// a request, none is charged for it. None unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) limits: Option<At<Vec<At<String>>>>,
    /// In which fields every answer tells how its caller's limits stand.
    #[schemars(extend("default" = "standard"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) limit_headers: Option<At<RawLimitHeaders>>,
    /// What the refusals of this route look like, by limits and by everything else. `application/problem+json` unless
    /// stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) refusal: Option<At<RawRefusal>>,
    /// Whether the refusals of this route say in `Steadfast-Decision` what each part decided: by which limit, with how
    /// much left, after how many attempts. Where upstreams are is not told.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) decision_header: Option<At<bool>>,
    /// What is taken from the beginning of the path before it goes to the upstream, by whole segments: with `/api`,
    /// `/api/orders` becomes `/orders`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) strip_prefix: Option<At<String>>,
    /// What is put before the path then; the path of the upstream's `url` goes before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) add_prefix: Option<At<String>>,
    /// What is changed of requests' header fields on their way to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) request_headers: Option<At<RawHeaderEdits>>,
    /// What is changed of the header fields of every answer, replays and refusals among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) answer_headers: Option<At<RawHeaderEdits>>,
}

/// Which pages of other origins may use a route.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawCors {
    /// Where the pages come from: `https://app.example.com`, `https://*.example.com` for every host below that one,
    /// or `["*"]` for every origin.
    pub(in crate::config) origins: At<Vec<At<String>>>,
    /// Which methods they may use. The route's unless stated; on a route for all methods, those that they ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) methods: Option<At<Vec<At<String>>>>,
    /// Which headers they may send. Those that they ask for unless stated, `Idempotency-Key` among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers: Option<At<Vec<At<String>>>>,
    /// Which headers of answers they may read, beside those of the gateway, such as `Retry-After`, `X-Request-Id`
    /// and `Idempotent-Replayed`, and those that browsers always show.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) expose: Option<At<Vec<At<String>>>>,
    /// Whether browsers send cookies and the like along, and show the answers. Not with `["*"]`.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) credentials: Option<At<bool>>,
    /// For how long a browser may keep the answer to a preflight, in whole seconds. Browsers have limits of their
    /// own, 2 hours in Chrome.
    #[schemars(extend("default" = "10m", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_age: Option<At<Time>>,
}

/// What one header must say: a text, or `true` for anything.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(in crate::config) enum RawHeaderCondition {
    This(String),
    /// Whether it must be there; only `true` is taken.
    Anything(bool),
}

impl JsonSchema for RawHeaderCondition {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HeaderCondition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "const": true }], "x-kind": "text or true" })
    }
}

/// Changes to header fields: what is removed goes first, what is added last.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawHeaderEdits {
    /// Fields to remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) remove: Option<At<Vec<At<String>>>>,
    /// Fields to set, in place of what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) set: Option<At<BTreeMap<String, At<String>>>>,
    /// Fields to add to what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) add: Option<At<BTreeMap<String, At<String>>>>,
}
