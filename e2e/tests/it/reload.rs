//! Reloading again and again while callers ask without a pause.

use e2e::Ask;
use rustix::process::Signal;

use crate::{
    load::Load,
    serve::{House, PATIENCE},
};

const RELOADS: usize = 200;

#[tokio::test]
async fn two_hundred_reloads_under_constant_load_fail_no_request() {
    let house = House::open().await;
    let load = Load::new();
    let reloads = async {
        load.goes_on(1).await;
        for round in 0..RELOADS {
            // Every one of them changes something, and the upstream's connections with it.
            let idle_max = 10 + round;
            let text =
                house.text(false, "").replace("[[routes]]", &format!("idle_max = {idle_max}\n[[routes]]"));
            std::fs::write(&house.config, text).expect("the test's folder");
            let is_signal = round % 4 == 3;
            if is_signal {
                house.gateway.signal(Signal::HUP);
            } else {
                let reloaded =
                    house.gateway.ask_admin(&Ask::post("/api/reload", "{}")).await.expect("an answer");
                assert_eq!(reloaded.status, 200, "{}", String::from_utf8_lossy(&reloaded.body));
            }
            e2e::await_that("the new config is in force", PATIENCE, async || {
                let config = house.gateway.admin("/api/config").await;
                let toml = config["toml"].as_str().expect("the config");
                toml.contains(&format!("idle_max = {idle_max}\n")).then_some(())
            })
            .await;
            load.goes_on(1).await;
        }
        load.end();
    };
    tokio::join!(reloads, load.run(house.gateway.addr(), true));
    println!("{} orders over {RELOADS} reloads", load.total());
    assert!(load.total() > RELOADS * load.answered.len(), "there must be load all the time");
    assert!(house.metrics().await.contains("steadfast_config_last_reload_successful 1"));
}
