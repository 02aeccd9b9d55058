//! The config: what is accepted, what is refused and in which words, and that its papers tell the truth.

mod abuse;
mod background;
mod caching;
mod golden;
mod lifecycle;
mod limiting;
mod loading;
mod names_and_health;
mod papers;
mod random;
mod sharing;
mod up;

use steadfast_gateway::config::{ConfigErrors, Environment, Loaded, Overrides, parse};

/// Reads a config with nothing around it.
fn read(text: &str) -> Result<Loaded, ConfigErrors> {
    parse("steadfast.toml", text, &Environment::default(), &Overrides::default())
}

/// The smallest config that forwards anything.
const SMALLEST: &str = r#"
[upstreams.bank]
url = "http://127.0.0.1:9000"

[[routes]]
path = "/*"
upstream = "bank"
idempotency = {}
"#;
