//! How often the ledger waits for the disk, and what it does when the disk fails or is full: told by a library that
//! stands before the C library's `fsync` and `pwrite`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use steadfast_ledger::{
    ClaimRequest, Claims as _, Durability, LedgerError, Occupied,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::{TempDir, tempdir};
use tokio::task::JoinSet;

use crate::{
    child::{self, SAYS},
    request::{answered, granted, replay, request},
};

/// Counts each sync by appending a byte to `syncs`, and fails them all while there is a file `broken`. While there is a
/// file `full`, the log has no room.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int sync_or_fail(void) {
    int count = open(getenv("STEADFAST_SYNCS"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (count >= 0) { if (write(count, "s", 1) != 1) abort(); close(count); }
    if (access(getenv("STEADFAST_BROKEN"), F_OK) == 0) { errno = EIO; return -1; }
    return 0;
}
int fsync(int file) { (void)file; return sync_or_fail(); }
int fdatasync(int file) { (void)file; return sync_or_fail(); }

static int has_no_room(int file) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name);
    return length > 4 && memcmp(name + length - 4, "-log", 4) == 0 && access(getenv("STEADFAST_FULL"), F_OK) == 0;
}
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (has_no_room(file)) { errno = ENOSPC; return -1; }
    if (!real) real = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return real(file, bytes, length, offset);
}
"#;

/// Runs the child's test with the library before it.
fn run(test: &str) -> (TempDir, Output) {
    let folder = tempdir().unwrap();
    let (source, library) = (folder.path().join("sync.c"), folder.path().join("sync.so"));
    fs::write(&source, LIBRARY).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(compiled.unwrap().success());
    let output = child::child(test, folder.path())
        .env("LD_PRELOAD", &library)
        .env("STEADFAST_SYNCS", folder.path().join("syncs"))
        .env("STEADFAST_BROKEN", folder.path().join("broken"))
        .env("STEADFAST_FULL", folder.path().join("full"))
        .stderr(std::process::Stdio::piped())
        .output();
    (folder, output.unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn open(folder: &Path) -> Arc<SqliteLedger> {
    Arc::new(SqliteLedger::open(&folder.join("ledger.db"), SqliteOptions::default()).unwrap())
}

fn syncs(folder: &Path) -> u64 {
    fs::metadata(folder.join("syncs")).map_or(0, |file| file.len())
}

#[tokio::test]
async fn child_counting_syncs() {
    let Some(folder) = child::folder() else { return };
    let ledger = open(&folder);
    let before = syncs(&folder);
    let claim = granted(ledger.as_ref(), "alone").await;
    assert_eq!(syncs(&folder) - before, 1, "a claim alone is one sync");
    ledger.finish(&claim, answered("x")).await.unwrap();
    assert_eq!(syncs(&folder) - before, 2, "and so is its end");

    let before = syncs(&folder);
    for _ in 0..20 {
        replay(ledger.as_ref(), "alone").await.unwrap();
    }
    assert_eq!(syncs(&folder), before, "a replay writes nothing, so it waits for nothing");

    let relaxed = ClaimRequest { durability: Durability::Relaxed, ..request("relaxed") };
    ledger.claim(relaxed).await.unwrap();
    assert_eq!(syncs(&folder), before, "a relaxed claim alone waits for nothing");
    granted(ledger.as_ref(), "synced").await;
    assert_eq!(syncs(&folder) - before, 1, "and the next that is not waits again");

    let before = syncs(&folder);
    let mut claims = JoinSet::new();
    for number in 0..200 {
        let ledger = Arc::clone(&ledger);
        claims.spawn(async move { granted(ledger.as_ref(), &format!("k{number}")).await });
    }
    claims.join_all().await;
    let grouped = syncs(&folder) - before;
    println!("{SAYS}{grouped} syncs for 200 claims");
    assert!((1..=50).contains(&grouped), "{grouped} syncs for 200 claims at once");
}

#[test]
fn a_batch_is_one_sync_and_a_replay_none() {
    let (_folder, output) = run("syncs::child_counting_syncs");
    assert!(output.status.success() && said(&output).contains("syncs for 200 claims"), "{}", said(&output));
}

#[tokio::test]
async fn child_with_a_full_disk() {
    let Some(folder) = child::folder() else { return };
    let ledger = open(&folder);
    let claim = granted(ledger.as_ref(), "k").await;
    let full = folder.join("full");
    fs::write(&full, b"").unwrap();
    assert_eq!(ledger.claim(request("other")).await, Err(LedgerError::Full));
    assert_eq!(ledger.finish(&claim, answered("x")).await, Err(LedgerError::Full));
    // Nothing of it happened: the operation is under way still, and the other never was.
    assert!(matches!(replay(ledger.as_ref(), "k").await, Err(Occupied::Claimed { .. })));
    fs::remove_file(&full).unwrap();
    ledger.finish(&claim, answered("x")).await.unwrap();
    assert_eq!(granted(ledger.as_ref(), "other").await.attempt, 1);
    drop(ledger);
    assert_eq!(replay(open(&folder).as_ref(), "k").await.unwrap(), "x");
    println!("{SAYS}it went on");
}

#[test]
fn a_log_without_room_is_told_and_nothing_happened() {
    let (_folder, output) = run("syncs::child_with_a_full_disk");
    assert!(output.status.success() && said(&output).contains("it went on"), "{}", said(&output));
}

#[tokio::test]
async fn child_with_a_broken_disk() {
    let Some(folder) = child::folder() else { return };
    let ledger = open(&folder);
    let claim = granted(ledger.as_ref(), "k").await;
    fs::write(folder.join("broken"), b"").unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), ledger.finish(&claim, answered("x"))).await;
    println!("{SAYS}the process went on: {ended:?}");
}

#[tokio::test]
async fn a_failed_sync_ends_the_process_and_acknowledges_nothing() {
    let (folder, output) = run("syncs::child_with_a_broken_disk");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(6), "SIGABRT is expected: {}", said(&output));
    assert!(said(&output).contains("fsync of the ledger failed"), "{}", said(&output));
    assert!(!said(&output).contains("went on"), "{}", said(&output));
    // What the next process finds on the disk is what counts.
    let ledger = open(folder.path());
    let found = replay(ledger.as_ref(), "k").await;
    assert!(matches!(found, Err(Occupied::InDoubt { .. })) || found.is_ok(), "{found:?}");
}
