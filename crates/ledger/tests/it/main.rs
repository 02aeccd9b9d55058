//! The ledger's tests that need files, processes or a store of their own.

mod conformance;
