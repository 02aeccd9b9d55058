//! Where nodes count limits together, and which.

use steadfast_gateway::config::{Environment, Overrides, diff, effective, parse};
use steadfast_shared::OnLoss;

use crate::{SMALLEST, read};

/// The smallest config with these lines at its top and these limits, all of which its route names.
fn file(top: &str, limits: &[(&str, &str)]) -> String {
    let tables: String = limits.iter().map(|(name, lines)| format!("[limits.{name}]\n{lines}\n")).collect();
    let names: Vec<_> = limits.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let named = format!("{tables}[[routes]]\nlimits = [{}]", names.join(", "));
    format!("{top}\n{}", SMALLEST.replacen("[[routes]]", &named, 1))
}

const RATE: &str = "per = \"ip\"\nrate = \"10/min\"";
const PLACES: &str = "per = \"ip\"\nalgorithm = \"concurrency\"\nmax = 3";

fn complaints(text: &str) -> String {
    read(text).expect_err("it is refused").to_string()
}

#[test]
fn limits_are_shared_where_there_is_a_store_unless_they_say_otherwise() {
    let alone = format!("{RATE}\nshared = false");
    let denied = format!("{RATE}\non_loss = \"deny\"");
    let limits = [("a", RATE), ("b", &*alone), ("c", &*denied), ("d", PLACES)];
    let loaded =
        read(&file("shared = \"redis://cache:7000\"", &limits)).unwrap_or_else(|errors| panic!("{errors}"));
    let config = loaded.config;
    let shared: Vec<_> = config.limits.values().map(|limit| limit.is_shared).collect();
    assert_eq!(shared, [true, false, true, true]);
    let on_loss: Vec<_> = config.on_loss.iter().map(|(name, on_loss)| (name.as_str(), *on_loss)).collect();
    assert_eq!(on_loss, [("a", OnLoss::Share), ("c", OnLoss::Deny)]);
    assert_eq!(config.shared.as_ref().expect("a store").location.to_string(), "cache:7000");
    // What is in force is written so that it reads as itself.
    let again = read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(again.config, config);
    let without = read(&file("", &limits[..1])).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert!(without.shared.is_none() && !without.limits["a"].is_shared && without.on_loss.is_empty());
}

#[test]
fn a_cluster_is_a_list_and_reads_as_itself() {
    let top = "shared = [\"rediss://a:7000\", \"rediss://b:7000\"]";
    let config = read(&file(top, &[("a", RATE)])).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert!(config.shared.as_ref().is_some_and(|shared| shared.location.is_cluster()));
    assert_eq!(read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config, config);
}

#[test]
fn the_environment_may_say_where_the_store_is() {
    let environment: Environment = [("STEADFAST_SHARED", "redis://b")].into_iter().collect();
    let text = file("shared = \"redis://a\"", &[]);
    let loaded = parse("steadfast.toml", &text, &environment, &Overrides::default());
    let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.shared.expect("a store").location.to_string(), "b:6379");
}

#[test]
fn a_password_comes_from_a_file_or_a_variable_and_is_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "hush\n").expect("written");
    let top = format!("shared = \"redis://cache\"\nshared_password_file = \"{}\"", path.display());
    let by_file = read(&file(&top, &[])).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert!(!effective(&by_file).contains("hush"));
    assert_eq!(read(&effective(&by_file)).expect("valid").config, by_file);
    let text = file("shared = \"redis://:${WORD}@cache\"", &[]);
    let environment: Environment = [("WORD", "hush")].into_iter().collect();
    let by_variable = parse("steadfast.toml", &text, &environment, &Overrides::default());
    let by_variable = by_variable.unwrap_or_else(|errors| panic!("{errors}")).config;
    // It enters alike.
    let location =
        |config: &steadfast_gateway::config::Config| config.shared.clone().expect("a store").location;
    assert_eq!(location(&by_file), location(&by_variable));
    let shown = effective(&by_variable);
    assert!(shown.contains("redis://:REDACTED@cache") && !shown.contains("hush"), "{shown}");
    assert!(!format!("{by_file:?}").contains("hush"));

    std::fs::write(&path, "\n").expect("written");
    assert!(complaints(&file(&top, &[])).contains("names an empty file"));
    std::fs::write(&path, "hush").expect("written");
    let twice = top.replace("//cache", "//:hush@cache");
    let told = complaints(&file(&twice, &[]));
    assert!(told.contains("both say the password") && !told.contains("hush"), "{told}");
    let missing = top.replace("/password\"", "/nothing\"");
    assert!(complaints(&file(&missing, &[])).contains("cannot be read"));
    assert!(complaints(&file("shared_password_file = \"a\"", &[])).contains("a store that is not there"));
}

#[test]
fn what_is_no_store_or_means_nothing_is_refused_with_what_to_do() {
    for (top, told) in [
        ("shared = \"memcached://cache\"", "it is no redis://, rediss:// or valkey:// URL with a host"),
        ("shared = 6379", "neither a text nor a list of texts"),
        ("shared = [\"redis://a\", 7]", "neither a text nor a list of texts"),
        ("shared = []", "the list names no node"),
        ("shared = [\"redis://a/1\"]", "a Cluster has no databases but 0"),
        ("shared = [\"redis://a\", \"rediss://b\"]", "entered alike"),
    ] {
        let all = complaints(&file(top, &[]));
        assert!(all.contains(told) && all.contains("steadfast.toml:1"), "{top}: {all}");
    }
    let store = "shared = \"redis://cache\"";
    for (top, lines, told) in [
        ("", format!("{RATE}\nshared = true"), "there is no store that nodes share"),
        ("", format!("{RATE}\non_loss = \"deny\""), "each node counts this limit for itself"),
        (
            store,
            format!("{RATE}\nshared = false\non_loss = \"deny\""),
            "each node counts this limit for itself",
        ),
        (store, format!("{PLACES}\non_loss = \"deny\""), "each node counts its share of places"),
        (store, format!("{RATE}\non_loss = \"denied\""), "on_loss"),
    ] {
        let all = complaints(&file(top, &[("a", &lines)]));
        assert!(all.contains(told), "{lines}: {all}");
    }
}

#[test]
fn another_store_takes_a_restart_and_what_becomes_of_a_limit_does_not() {
    let config = |top: &str, lines: &str| {
        let text = file(top, &[("a", &format!("{RATE}\n{lines}"))]);
        effective(&read(&text).unwrap_or_else(|errors| panic!("{errors}")).config)
    };
    let running = config("shared = \"redis://a\"", "");
    let file = config("shared = \"redis://b\"", "on_loss = \"allow\"");
    let found = diff(&running, &file).expect("TOML");
    let told: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.needs_restart)).collect();
    assert_eq!(told, [("limits.a.on_loss", false), ("shared", true)]);
}
