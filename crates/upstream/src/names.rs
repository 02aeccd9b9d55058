//! The names of an upstream: looked up again and again beside its requests, never on their way. Only where a name was
//! not looked up before do requests wait for it; one that is known not to be found makes nobody wait.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use steadfast_core::{Learned, Resolution, Standing};
use steadfast_layers::UpstreamTally;
use tokio::sync::watch;

use crate::{
    Location, UpstreamPolicy,
    resolve::{Found, Resolver},
};

/// What is known of an upstream's names.
pub(crate) struct Names {
    known: BTreeMap<String, watch::Receiver<Resolution>>,
}

/// A name that nobody looks up yet.
pub(crate) struct Unasked {
    host: String,
    known: watch::Sender<Resolution>,
}

/// What a name stands for, once that is known.
pub(crate) struct Unresolved {
    known: Option<watch::Receiver<Resolution>>,
    port: u16,
}

impl Names {
    /// Those in the policy's addresses, each once.
    pub(crate) fn of(policy: &UpstreamPolicy) -> (Self, Vec<Unasked>) {
        let mut known = BTreeMap::new();
        let mut unasked = Vec::new();
        for (host, _) in policy.addresses.iter().filter_map(|address| address.name()) {
            if !known.contains_key(host) {
                let (sender, receiver) = watch::channel(Resolution::new());
                known.insert(host.to_owned(), receiver);
                unasked.push(Unasked { host: host.to_owned(), known: sender });
            }
        }
        (Self { known }, unasked)
    }

    /// Where the policy's addresses are, in their order, as far as is known. One whose name was not found yet stands
    /// for itself.
    pub(crate) fn locations(&self, policy: &UpstreamPolicy) -> Vec<Location> {
        let mut locations = Vec::new();
        for address in &policy.addresses {
            let before = locations.len();
            if let Some((host, port)) = address.name()
                && let Some(known) = self.known.get(host)
            {
                let at = |ip| Location { address: address.clone(), socket: Some(SocketAddr::new(ip, port)) };
                locations.extend(known.borrow().addresses().iter().copied().map(at));
            }
            if locations.len() == before {
                locations.push(address.clone().into());
            }
        }
        locations
    }

    /// What the name in `location` stands for.
    pub(crate) fn unresolved(&self, location: &Location) -> Unresolved {
        let name = location.address.name();
        let known = name.and_then(|(host, _)| self.known.get(host).cloned());
        Unresolved { known, port: name.map_or(0, |(_, port)| port) }
    }
}

impl Unresolved {
    /// Where it is. Waits for the first look-up to end, and for no other. The error is for the log.
    pub(crate) async fn sockets(&self) -> Result<Vec<SocketAddr>, String> {
        let gone = || "its name is not looked up any more".to_owned();
        let mut known = self.known.clone().ok_or_else(gone)?;
        let known =
            known.wait_for(|known| known.standing() != Standing::Unasked).await.map_err(|_| gone())?;
        match (known.addresses(), known.standing()) {
            ([], Standing::Missing) => Err("its name is not known".into()),
            ([], _) => Err("its name could not be looked up".into()),
            (addresses, _) => Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect()),
        }
    }
}

impl Unasked {
    /// Looks the name up for ever. `changed` is called when its addresses are others than before.
    pub(crate) async fn keep_found(
        self,
        resolver: Resolver,
        upstream: String,
        tally: Arc<UpstreamTally>,
        changed: impl Fn(),
    ) {
        let mut resolution = Resolution::new();
        let mut lost = None;
        loop {
            let Found { look_up, detail } = resolver.look_up(&self.host).await;
            let learned = resolution.learn(look_up);
            self.log(&upstream, &resolution, learned, &detail);
            match resolution.standing() {
                Standing::Found | Standing::Unasked => lost = None,
                Standing::Missing | Standing::Unanswered => {
                    tally.look_ups_failed.add();
                    lost.get_or_insert_with(|| Lost::new(&tally));
                }
            }
            self.known.send_replace(resolution.clone());
            if learned.addresses_changed {
                changed();
            }
            tokio::time::sleep(resolution.pause(fastrand::f64())).await;
        }
    }

    /// Says what changed, once.
    fn log(&self, upstream: &str, resolution: &Resolution, learned: Learned, detail: &str) {
        let (name, addresses) = (&self.host, resolution.addresses());
        let why = match resolution.standing() {
            Standing::Found | Standing::Unasked => {
                if learned.addresses_changed || learned.standing_changed {
                    tracing::info!(upstream, name, ?addresses, "an upstream's name was found");
                }
                return;
            }
            Standing::Missing => "there is no such name, or it has no addresses",
            Standing::Unanswered => "nobody who was asked answered, or knew",
        };
        if !learned.standing_changed {
            return;
        }
        if addresses.is_empty() {
            tracing::warn!(
                upstream,
                name,
                why,
                detail,
                "an upstream's name is not found: its requests are refused until it is"
            );
        } else {
            tracing::warn!(
                upstream,
                name,
                why,
                detail,
                ?addresses,
                "an upstream's name is not found any more: the last known addresses stay in use"
            );
        }
    }
}

/// A name that the last look-up did not find, counted until this is dropped.
struct Lost(Arc<UpstreamTally>);

impl Lost {
    fn new(tally: &Arc<UpstreamTally>) -> Self {
        tally.names_lost.add();
        Self(Arc::clone(tally))
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.0.names_lost.sub();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use steadfast_core::{Answered, LookUp};

    use super::*;
    use crate::Address;

    fn policy(urls: &[&str]) -> UpstreamPolicy {
        let addresses: Vec<Address> = urls.iter().map(|url| url.parse().expect("a URL")).collect();
        UpstreamPolicy { addresses: addresses.clone(), ..UpstreamPolicy::new("shop", addresses[0].clone()) }
    }

    fn learn(name: &Unasked, v4: Answered) {
        let look_up = LookUp { v4, v6: Answered::Nothing, valid_for: Duration::ZERO };
        name.known.send_modify(|known| {
            known.learn(look_up);
        });
    }

    fn found(texts: &[&str]) -> Answered {
        Answered::Addresses(texts.iter().map(|text| text.parse().expect("an address")).collect())
    }

    fn shown(names: &Names, policy: &UpstreamPolicy) -> Vec<String> {
        names.locations(policy).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_name_is_looked_up_once_and_stands_for_itself_until_it_is_found() {
        let policy =
            policy(&["http://a:1", "http://127.0.0.9:1", "http://a:2", "http://b:1", "http://localhost:1"]);
        let (names, unasked) = Names::of(&policy);
        let hosts: Vec<_> = unasked.iter().map(|name| name.host.as_str()).collect();
        assert_eq!(hosts, ["a", "b"]);
        let themselves =
            ["http://a:1", "http://127.0.0.9:1", "http://a:2", "http://b:1", "http://localhost:1"];
        assert_eq!(shown(&names, &policy), themselves);
        learn(&unasked[0], found(&["10.0.0.2", "10.0.0.1"]));
        learn(&unasked[1], Answered::Nothing);
        assert_eq!(
            shown(&names, &policy),
            [
                "http://a:1 at 10.0.0.1:1",
                "http://a:1 at 10.0.0.2:1",
                "http://127.0.0.9:1",
                "http://a:2 at 10.0.0.1:2",
                "http://a:2 at 10.0.0.2:2",
                "http://b:1",
                "http://localhost:1",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_look_up_is_waited_for() {
        let policy = policy(&["http://a:1"]);
        let (names, unasked) = Names::of(&policy);
        let unresolved = names.unresolved(&policy.addresses[0].clone().into());
        let waiting = tokio::time::timeout(Duration::from_secs(3600), unresolved.sockets());
        assert!(waiting.await.is_err(), "nothing is known yet");

        learn(&unasked[0], Answered::NoAnswer);
        let known = unresolved.sockets().await;
        assert_eq!(known, Err("its name could not be looked up".into()));
        learn(&unasked[0], Answered::Nothing);
        assert_eq!(unresolved.sockets().await, Err("its name is not known".into()));
        learn(&unasked[0], found(&["10.0.0.1"]));
        let socket: SocketAddr = "10.0.0.1:1".parse().expect("a socket");
        assert_eq!(unresolved.sockets().await, Ok(vec![socket]));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_look_up_that_has_ended_for_good() {
        let policy = policy(&["http://a:1"]);
        let (names, unasked) = Names::of(&policy);
        let unresolved = names.unresolved(&policy.addresses[0].clone().into());
        drop(unasked);
        assert_eq!(unresolved.sockets().await, Err("its name is not looked up any more".into()));
    }
}
