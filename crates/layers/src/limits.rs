//! Limits on how much each caller may ask for, so that one that is noisy does not take the service down for the others.
//!
//! What a limit is per is digested ([`Per`]) and counted: in this process ([`LocalLimits`]), or where all nodes see it,
//! behind [`LimitStore`]. All limits of a request are asked at once, and where one refuses it, none is charged. Callers
//! are told in every answer how they stand, and in a refusal by what, why and for how long.

mod clock;
mod ending;
mod layer;
mod limit;
mod limiter;
mod local;
mod per;
mod policy;
mod raise;
mod refusal;
mod route;
mod store;
mod telling;
mod text;

pub use clock::LimitClock;
pub use ending::LimitedBody;
pub use layer::{LimitsFuture, LimitsLayer, LimitsService};
pub use limit::{Limit, MostRefused, RefusedSubject};
pub use limiter::{Limiter, NoSuchSubject};
pub use local::{LIMITED_KEYS_MAX, LocalLimits};
pub use per::{ClientAddress, LIMIT_VARIABLES, Per};
pub(crate) use per::{Digested, KeyMaker, Kind as SaidKind, LimitMark, Said};
pub use policy::{Cost, CostFromAnswer, ENFORCED_ON_ALL, LIMITS_MAX, LimitPolicy};
pub use raise::Raise;
pub(crate) use refusal::OwnLimit;
pub use route::RouteLimits;
pub use store::{LimitStore, LimitedKey, Look, LookedUp, Standing, Take, Taken, TakenLater};
pub use telling::LimitHeaders;
