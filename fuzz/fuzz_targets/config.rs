//! Any text as a config.
#![no_main]

use steadfast_gateway::config::{Environment, Overrides, effective, parse};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (environment, overrides) = (Environment::default(), Overrides::default());
    let Ok(loaded) = parse("fuzz.toml", text, &environment, &overrides) else { return };
    let written = effective(&loaded.config);
    // What is left out of it for secrecy cannot be read again.
    if !written.contains("REDACTED") {
        let again =
            parse("effective.toml", &written, &environment, &overrides).expect("what is in force is valid");
        assert_eq!(again.config, loaded.config);
    }
});
