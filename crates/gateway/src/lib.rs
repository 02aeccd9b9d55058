//! The gateway: config, routing, the wiring of the layers, telemetry and listeners.

pub mod config;
