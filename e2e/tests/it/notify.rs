//! What a gateway tells a service manager (`NOTIFY_SOCKET`), which this test plays.

use std::{
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr},
    time::Duration,
};

use e2e::{Ask, Gateway, within};
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};
use tokio::net::UnixDatagram;

use crate::serve::{House, PATIENCE};

/// What the manager is told next.
async fn told(manager: &UnixDatagram) -> String {
    let mut text = [0; 4096];
    let bytes = within(PATIENCE, manager.recv(&mut text)).await.expect("a datagram");
    String::from_utf8_lossy(&text[..bytes]).into_owned()
}

fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// Expects the two words of a reload that was asked for at `asked`, and returns the status after it.
async fn reloaded(manager: &UnixDatagram, asked: i64) -> String {
    let reloading = told(manager).await;
    let lines: Vec<_> = reloading.lines().collect();
    let at = lines.get(1).and_then(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("the time");
    let at: i64 = at.parse().expect("microseconds");
    assert!(lines[0] == "RELOADING=1" && (asked..=monotonic_micros()).contains(&at), "{reloading}");
    let ready = told(manager).await;
    ready.strip_prefix("READY=1\nSTATUS=").unwrap_or_else(|| panic!("{ready}")).to_owned()
}

#[tokio::test]
async fn a_service_manager_is_told_of_readiness_reloads_and_the_end() {
    let mut house = House::open().await;
    house.gateway.kill();
    let path = house.folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    house.gateway = Gateway::serve(house.folder.path(), "notifying", &house.config)
        .with_variable("NOTIFY_SOCKET", &path.to_string_lossy());
    house.gateway.start().await;
    assert_eq!(told(&manager).await, "READY=1\nSTATUS=serving");

    let asked = monotonic_micros();
    house.gateway.signal(Signal::HUP);
    assert_eq!(reloaded(&manager, asked).await, "serving");

    house.write(true, "lissten = 1");
    let asked = monotonic_micros();
    let refused = house.gateway.ask_admin(&Ask::post("/api/reload", "{}")).await.expect("an answer");
    assert_eq!(refused.status, 422);
    let status = reloaded(&manager, asked).await;
    assert!(status.contains("not with the config as it is in the file"), "{status}");

    house.gateway.signal(Signal::TERM);
    assert!(told(&manager).await.starts_with("STOPPING=1\n"));
    assert_eq!(house.gateway.ended(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn a_watchdog_hears_that_the_gateway_is_alive_also_while_it_drains_and_nobody_hears_it_paused() {
    let mut house = House::open().await;
    house.gateway.kill();
    let name = format!("steadfast-test-{}", std::process::id());
    let manager =
        std::os::unix::net::UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap());
    let manager = manager.unwrap();
    manager.set_nonblocking(true).unwrap();
    let manager = UnixDatagram::from_std(manager).unwrap();
    house.gateway = Gateway::serve(house.folder.path(), "watched", &house.config)
        .with_variable("NOTIFY_SOCKET", &format!("@{name}"))
        .with_variable("WATCHDOG_USEC", "100000");
    house.gateway.start().await;
    assert!(told(&manager).await.starts_with("READY=1\n"));
    for _ in 0..5 {
        assert_eq!(told(&manager).await, "WATCHDOG=1");
    }
    house.gateway.pause();
    // What was on its way when it stopped, and then nothing.
    let mut late = 0;
    while tokio::time::timeout(Duration::from_millis(500), manager.recv(&mut [0; 64])).await.is_ok() {
        late += 1;
        assert!(late < 5, "a gateway that stands still says nothing");
    }
    house.gateway.resume();
    assert_eq!(told(&manager).await, "WATCHDOG=1");

    house.gateway.signal(Signal::TERM);
    let mut after_the_end_began = 0;
    let mut is_stopping = false;
    while house.gateway.has_ended().is_none() {
        let mut text = [0; 64];
        let heard = tokio::time::timeout(Duration::from_millis(50), manager.recv(&mut text)).await;
        match heard {
            Ok(Ok(bytes)) if text[..bytes].starts_with(b"STOPPING=1") => is_stopping = true,
            Ok(Ok(_)) if is_stopping => after_the_end_began += 1,
            _ => {}
        }
    }
    assert!(after_the_end_began > 0, "it is not killed while it finishes what is under way");
}
