//! The suite that every store passes.

use crate::fixture::Fresh;

steadfast_ledger::conformance_tests!(Fresh::new().await);
