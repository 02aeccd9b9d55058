//! What is counted of one subject, looked for by hand. Names begin with limit and subject, so all counts are found by
//! going through the names of one server; that takes a second for some millions, during which it goes on answering.

use std::time::Duration;

use redis::{
    RedisResult, Value,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use steadfast_core::Quota;
use steadfast_layers::{Look, Standing};

use crate::{
    ask::{Ask, Question, Verb},
    call,
    connection::{self, Connection},
    slot::{self, LimitTag},
    store::Inner,
};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many names are looked at in one step.
const NAMES_A_STEP: usize = 1_000;
/// How many counts of one limit are shown of one subject: it has several only where a limit is per something else too.
const FOUND_MAX: usize = 1_000;

/// How these limits stand; forgets them where that is asked.
pub(crate) async fn look(inner: &Inner, looks: Vec<Look>) -> Result<Vec<Standing>, String> {
    match tokio::time::timeout(PATIENCE, look_unbounded(inner, looks)).await {
        Ok(found) => found.map_err(|error| format!("the shared store: {}", connection::reason(&error))),
        Err(_) => Err(format!("the shared store did not answer within {PATIENCE:?}")),
    }
}

async fn look_unbounded(inner: &Inner, looks: Vec<Look>) -> RedisResult<Vec<Standing>> {
    let mut connection = Connection::open(&inner.location, PATIENCE, PATIENCE).await?;
    let mut standings = Vec::new();
    for look in looks {
        let verb = if look.reset { Verb::Forget } else { Verb::Look };
        let limit = LimitTag::of(&look.limit);
        let names = names(&mut connection, &slot::beginning(limit, look.subject)).await?;
        let keys: Vec<_> = names.iter().filter_map(|name| slot::key_of(name)).collect();
        let question = |key| Question { verb, asks: [ask(limit, key, look.quota)].into() };
        let questions: Vec<_> = keys.iter().copied().map(question).collect();
        let said = call::ask(&mut connection, &inner.script, &questions).await?;
        if let Some(failure) = said.failure {
            return Err(failure);
        }
        for (key, answers) in keys.into_iter().zip(said.answers) {
            if look.reset {
                inner.hot.forget(key);
            }
            let decision = answers.and_then(|answers| answers.first().copied());
            standings.extend(decision.map(|decision| Standing { limit: look.limit.clone(), key, decision }));
        }
    }
    Ok(standings)
}

/// What a request of cost one would be told.
fn ask(limit: LimitTag, key: steadfast_layers::LimitedKey, quota: Quota) -> Ask {
    Ask { limit, key, quota, cost: 1, wait_max: Duration::MAX, enforced: true }
}

/// All names that begin so.
async fn names(connection: &mut Connection, beginning: &[u8]) -> RedisResult<Vec<Vec<u8>>> {
    let mut pattern = Vec::new();
    for byte in beginning {
        if b"*?[]^-\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    let (mut cursor, mut names) = (0, Vec::new());
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(NAMES_A_STEP);
        let step: Value = match connection {
            Connection::Single(_) => connection.ask(&scan).await?,
            Connection::Cluster(cluster) => {
                let route = Route::new(slot::slot_of(beginning), SlotAddr::Master);
                let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                cluster.route_command(scan, route).await?
            }
        };
        let (next, found): (u64, Vec<Vec<u8>>) = redis::from_redis_value(step)?;
        // A name may be found twice.
        for name in found {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if next == 0 || names.len() >= FOUND_MAX {
            return Ok(names);
        }
        cursor = next;
    }
}
