//! One gateway follows another, and no caller notices: over sockets that a service manager holds, and beside each
//! other on one port.

use std::{net::SocketAddr, process::Command, sync::Arc};

use e2e::{Ask, Caller, Gateway, ServiceManager, program};
use rustix::process::Signal;

use crate::{
    load::Load,
    serve::{House, PATIENCE},
};

/// How often one gateway follows another.
const HANDOVERS: usize = 5;

async fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended(PATIENCE).await.code(), Some(0), "{}", gateway.errors());
}

#[tokio::test]
async fn a_gateway_that_follows_another_on_a_handed_over_socket_refuses_nobody() {
    let mut house = House::open().await;
    house.gateway.kill();
    let sockets = [("proxy", house.gateway.addr()), ("admin", house.gateway.admin_addr())];
    house.gateway.hand_over(&Arc::new(ServiceManager::listening(&sockets)));
    house.gateway.start().await;
    let load = Load::new();
    let addr = house.gateway.addr();
    let handovers = async {
        load.goes_on(5).await;
        for _ in 0..HANDOVERS {
            // The same SQLite file: the next one can open it only when this one has let it go. Meanwhile callers
            // wait in the socket's queue.
            stop(&mut house.gateway).await;
            house.gateway.start().await;
            load.goes_on(5).await;
        }
        load.end();
    };
    tokio::join!(handovers, load.run(addr, true));
    println!("{} orders over {HANDOVERS} handovers", load.total());
}

#[tokio::test]
async fn a_gateway_that_starts_beside_another_takes_over_without_a_request_lost() {
    let house = House::open().await;
    // Two ledgers, as two SQLite files must be: nothing is replayed here. With one Postgres it would be.
    let config = house.folder.path().join("beside.toml");
    std::fs::write(&config, house.text(false, "").replace("ledger.db", "beside.db")).unwrap();
    let mut serving = house.gateway;
    let mut next = serving.beside("beside", &config);
    let addr = serving.addr();
    let load = Load::new();
    let handovers = async {
        load.goes_on(5).await;
        for _ in 0..HANDOVERS {
            next.start().await;
            load.goes_on(5).await;
            stop(&mut serving).await;
            load.goes_on(5).await;
            std::mem::swap(&mut serving, &mut next);
        }
        load.end();
    };
    tokio::join!(handovers, load.run(addr, false));
    println!("{} orders over {HANDOVERS} handovers", load.total());
}

#[tokio::test]
async fn a_handed_over_socket_without_a_name_is_known_by_its_address_and_an_unknown_one_is_refused() {
    let mut house = House::open().await;
    house.gateway.kill();
    let (addr, admin) = (house.gateway.addr(), house.gateway.admin_addr());
    let sockets = [("steadfast.socket", admin), ("steadfast.socket", addr)];
    house.gateway.hand_over(&Arc::new(ServiceManager::listening(&sockets)));
    house.gateway.start().await;
    let read = Caller::new(addr, PATIENCE).ask(&Ask::get("/events")).await.expect("an answer");
    assert_eq!(read.status, 200);
    stop(&mut house.gateway).await;

    let elsewhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let script = "exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\"";
    let socket = std::net::TcpListener::bind(elsewhere).unwrap();
    let refused = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(program("steadfast"))
        .args(["serve", "--config"])
        .arg(&house.config)
        .stdin(std::os::fd::OwnedFd::from(socket))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the socket `web`") && said.contains("FileDescriptorName=proxy"), "{said}");
}
