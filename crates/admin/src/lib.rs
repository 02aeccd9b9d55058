//! The admin API: how the people who run a gateway read its ledger, settle what is in doubt, and see how it does.
//!
//! It is served on a loopback address and nowhere else: it has no authentication, so whoever reaches it is
//! whoever can log in to the machine. [`router`] builds it from [`AdminParts`], [`serve`] serves it, and
//! [`api`] has its JSON as types, which the command line shares. It knows neither routes nor upstreams: what it
//! needs of the gateway comes through [`Readiness`] and [`Control`].
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /livez` | 200 for as long as the process is alive |
//! | `GET /readyz?verbose` | 200, or 503 while draining and while the ledger does not answer |
//! | `GET /metrics` | the metrics, as Prometheus reads them |
//! | `GET /api/operations?state=&route=&key=&cases=&limit=&before=` | a page of operations, newest first |
//! | `GET /api/operations/{id}?body=` | one operation with its attempts; its answer's body only where asked for |
//! | `POST /api/operations/{id}/settle` | settles what is in doubt, or says what would become of it |
//! | `GET /api/dead-letters?route=&end=&cause=&status=&older_than=&in_doubt=` | dead letters, by what made them dead |
//! | `GET /api/dead-letters/list` | single ones, asked for likewise, with `limit` and `after` |
//! | `GET /api/dead-letters/{id}?body=` | one with its request and every attempt, and whether it can be redriven |
//! | `POST /api/dead-letters/{id}/redrive`, `…/purge`, `…/edit` | sends it round again, removes it, makes another of it |
//! | `POST /api/dead-letters/redrive`, `…/purge` | begins a run over those that pass a filter, or removes them |
//! | `GET /api/redrives`, `POST /api/redrives/{run}/stop`, `…/resume` | the runs, and turning them |
//! | `GET /api/queue` | what each route has to do in the background, and whether it rests |
//! | `POST /api/queue/pause`, `…/resume`, `…/cancel` | lets a route rest or go on; calls an operation off |
//! | `GET /api/limits` | the limits on callers, what they did, and what is raised by hand |
//! | `GET /api/limits/counts` | how the counts of one caller stand |
//! | `POST /api/limits/reset`, `POST /api/limits/raise` | forgets them, or allows more for a time |
//! | `GET /api/bans?all=` | who is banned, by what and until when |
//! | `POST /api/bans`, `POST /api/bans/lift` | bans somebody, or lets them in again |
//! | `GET /api/circuits` | the endpoints of every upstream, and how their circuits stand |
//! | `POST /api/circuits/{upstream}` | holds its circuits open or closed for a time, or lets them go by what happens |
//! | `GET /api/credentials?principal=&all=` | the API keys, without the keys |
//! | `POST /api/credentials` | makes one; its key is in the answer and nowhere else |
//! | `POST /api/credentials/{id}/rotate` | makes one in its place; both are good for a while |
//! | `POST /api/credentials/{id}/revoke` | ends it at once |
//! | `GET /api/counts` | how many operations need attention |
//! | `GET /api/cache` | how much is kept of answers |
//! | `POST /api/cache/purge` | forgets kept answers |
//! | `GET /api/explain/{request_id}` | why a request was refused, or slow |
//! | `GET /api/usage?version=` | who called which version, as this node counted it |
//! | `POST /api/reload` | reads the config again |
//! | `GET /api/config` | the config in force, without secrets, and where it comes from |

pub mod api;
mod bans;
mod cache;
mod circuits;
mod control;
mod credentials;
mod erase;
mod explain;
mod guard;
mod health;
mod instant;
mod letters;
mod limits;
mod operations;
mod parameters;
mod problem;
mod queue;
mod router;
mod serve;
mod settle;
mod usage;
mod view;

pub use control::{
    CacheHolds, CircuitOrder, CircuitOrdered, CircuitReport, ConfigOrigin, Control, EditRefused,
    EditedLetter, EndpointReport, Forget, LimitsRefused, OrderRefused, Readiness, ReloadReport, SharedCheck,
    UsageBy, UsageReport,
};
pub use instant::rfc3339;
pub use router::{AdminParts, router};
pub use serve::{NotLoopback, ServeError, require_loopback, serve};
pub use steadfast_ledger::BoxFuture;
