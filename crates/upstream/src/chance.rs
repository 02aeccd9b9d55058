//! Chance, where it only spreads work over time.

/// A number from 0 to 1. Where the system has no randomness to give, the middle.
pub(crate) fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
