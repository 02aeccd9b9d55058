//! `serve --watch`: what is written to the config's files is in force without a word to the gateway.

use std::{fs, os::unix::fs::symlink};

use e2e::{Ask, await_that};

use crate::serve::{House, PATIENCE};

/// Waits until an order without a key is answered so.
async fn becomes(house: &House, status: u16) {
    await_that("the new config is in force", PATIENCE, async || {
        (house.unkeyed().await == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watched_config_is_reloaded_when_it_is_written_or_replaced_and_a_bad_one_changes_nothing() {
    let house = House::open_with(&["--watch"]).await;
    assert_eq!(house.unkeyed().await, 201);
    house.write(true, "");
    becomes(&house, 400).await;

    // As editors save: a new file in the old one's place.
    let draft = house.folder.path().join("steadfast.toml.draft");
    fs::write(&draft, house.text(false, "")).unwrap();
    fs::rename(&draft, &house.config).unwrap();
    becomes(&house, 201).await;

    house.write(true, "lissten = \"127.0.0.1:1\"");
    await_that("the failure is counted", PATIENCE, async || {
        house.metrics().await.contains("steadfast_config_last_reload_successful 0").then_some(())
    })
    .await;
    let said = house.gateway.errors();
    assert!(said.contains("lissten") && said.contains("did you mean `listen`?"), "{said}");
    assert_eq!(house.unkeyed().await, 201, "the old config is in force");

    house.write(true, "");
    becomes(&house, 400).await;
}

#[tokio::test]
async fn a_watched_config_behind_the_links_of_kubernetes_is_reloaded_when_they_are_swapped() {
    let mut house = House::open().await;
    house.gateway.kill();
    let mount = house.folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    for (version, required) in [("v1", false), ("v2", true)] {
        fs::create_dir(mount.join(version)).unwrap();
        fs::write(mount.join(version).join("steadfast.toml"), house.text(required, "")).unwrap();
    }
    symlink("v1", mount.join("..data")).unwrap();
    symlink("..data/steadfast.toml", mount.join("steadfast.toml")).unwrap();
    let mounted = mount.join("steadfast.toml");
    house.gateway =
        e2e::Gateway::serve(house.folder.path(), "mounted", &mounted).with_variable("STEADFAST_WATCH", "1");
    house.gateway.start().await;
    assert_eq!(house.unkeyed().await, 201);
    symlink("v2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    becomes(&house, 400).await;
}

#[tokio::test]
async fn a_watched_secret_in_a_file_of_its_own_is_read_again_with_the_config() {
    let mut house = House::open().await;
    house.gateway.kill();
    let secret = house.folder.path().join("ledger");
    let ledger = format!("sqlite:{}", house.folder.path().join("ledger.db").display());
    fs::write(&secret, &ledger).unwrap();
    let named = house
        .text(false, "")
        .replace(&format!("ledger = \"{ledger}\""), &format!("ledger_file = \"{}\"", secret.display()));
    fs::write(&house.config, named).unwrap();
    house.gateway = e2e::Gateway::serve(house.folder.path(), "secretive", &house.config).with(&["--watch"]);
    house.gateway.start().await;
    fs::write(&secret, format!("{ledger}.moved")).unwrap();
    await_that("the change is noticed", PATIENCE, async || {
        house.gateway.errors().contains("`ledger` changed, and takes effect after a restart").then_some(())
    })
    .await;
    let order = house.gateway.ask_admin(&Ask::get("/readyz")).await.expect("it goes on");
    assert_eq!(order.status, 200);
}
