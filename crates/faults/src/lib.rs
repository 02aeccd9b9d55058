//! A TCP proxy that injects faults.
