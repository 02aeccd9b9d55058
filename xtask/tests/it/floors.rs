//! The floors are one-way: a crate uses only crates above it in ARCHITECTURE.md's table.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// The floors from the top; crates of one floor do not use each other.
const FLOORS: &[&[&str]] = &[
    &["steadfast-core"],
    &["steadfast-ledger"],
    &["steadfast-layers"],
    &["steadfast-upstream", "steadfast-shared"],
    &["steadfast-worker"],
    &["steadfast-admin"],
    &["steadfast-gateway"],
    // They know nothing of the rest.
    &["steadfast-faults", "box-office"],
    &["steadfast"],
    &["xtask", "e2e", "bench", "axum-service"],
];

/// Crates that use no other crate of the house, whatever floor they are on.
const ALONE: &[&str] = &["steadfast-core", "steadfast-faults", "box-office", "xtask"];

/// What a crate may never use, directly: what it must stay ignorant of.
const IGNORANT: &[(&str, &[&str])] = &[
    ("steadfast-core", &["tokio", "rusqlite", "tokio-postgres", "http", "hyper"]),
    ("steadfast-ledger", &["http", "hyper", "axum"]),
    ("steadfast-layers", &["rusqlite", "tokio-postgres", "hyper", "toml"]),
    ("steadfast-upstream", &["rusqlite", "tokio-postgres"]),
    ("steadfast-shared", &["rusqlite", "tokio-postgres", "http", "hyper", "toml"]),
    ("steadfast-worker", &["http", "hyper", "axum"]),
    ("steadfast-admin", &["steadfast-layers", "steadfast-upstream"]),
    ("steadfast-gateway", &["clap"]),
];

/// The crates of this workspace, each with what it depends on outside its tests.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let used = package["dependencies"].as_array().expect("dependencies");
            let used = used.iter().filter(|dependency| dependency["kind"] != "dev");
            let used = used.map(|dependency| dependency["name"].as_str().expect("a name").to_owned());
            (package["name"].as_str().expect("a name").to_owned(), used.collect())
        })
        .collect()
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

#[test]
fn every_crate_has_a_floor() {
    for name in dependencies().keys() {
        assert!(floor(name).is_some(), "{name} has no floor: give it one in ARCHITECTURE.md and here");
    }
}

#[test]
fn a_crate_uses_only_crates_above_it() {
    for (name, used) in dependencies() {
        for other in used {
            let Some(above) = floor(&other) else { continue };
            assert!(floor(&name) > Some(above), "{name} uses {other}, which is not above it");
            assert!(!ALONE.contains(&&*name), "{name} stands alone, and uses {other}");
        }
    }
}

#[test]
fn crates_stay_ignorant_of_what_they_should_not_know() {
    let dependencies = dependencies();
    for (name, forbidden) in IGNORANT {
        let used = &dependencies[*name];
        for other in *forbidden {
            assert!(!used.iter().any(|used| used == other), "{name} must not know {other}");
        }
    }
}

#[test]
fn the_architecture_page_names_every_crate() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).expect("ARCHITECTURE.md");
    for name in dependencies().keys() {
        assert!(page.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name {name}");
    }
}
