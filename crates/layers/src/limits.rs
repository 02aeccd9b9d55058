//! Limits on how much each caller may ask for.

mod store;

pub use store::{LimitStore, LimitedKey, Look, LookedUp, Standing, Take, Taken, TakenLater};
