//! Checks of the house itself.

mod floors;
mod guarantees;
