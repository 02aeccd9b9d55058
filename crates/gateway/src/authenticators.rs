//! The authenticators of a config, running. A reload that changes nothing about one goes on with it, and with what it
//! knows.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use steadfast_layers::{
    ApiKeys, AuthenticationLayer, Authenticator, KeyRing, Kind, NamedAs, Reserved, RouteAuthentication,
    RouteTally,
};
use steadfast_ledger::Clock;

use crate::config::{AuthenticationConfig, AuthenticationKind, Config, Route};

/// The authenticators, by name.
#[derive(Debug, Default)]
pub(crate) struct Authenticators {
    running: BTreeMap<String, Running>,
    reserved: Arc<Reserved>,
}

#[derive(Clone, Debug)]
struct Running {
    config: AuthenticationConfig,
    authenticator: Arc<Authenticator>,
    /// Its keys, where it has some.
    ring: Option<Arc<KeyRing>>,
}

impl Authenticators {
    /// The authenticators of `config`; those of `before` that are not different go on.
    pub(crate) fn running(config: &Config, before: &Self) -> Self {
        let started = config.authentication.iter().map(|(name, config)| {
            let same = before.running.get(name).filter(|running| running.config == *config);
            (name.clone(), same.cloned().unwrap_or_else(|| start(name, config)))
        });
        Self { running: started.collect(), reserved: Arc::new(Reserved::default()) }
    }

    /// All keys that must be kept up to date.
    pub(crate) fn rings(&self) -> Vec<Arc<KeyRing>> {
        self.running.values().filter_map(|running| running.ring.clone()).collect()
    }

    /// What the route asks of its callers, ready to be asked.
    pub(crate) fn of_route(
        &self,
        route: &Route,
        clock: &Clock,
        tally: &Arc<RouteTally>,
    ) -> Option<Arc<RouteAuthentication>> {
        let policy = route.authentication.clone()?;
        // The config was checked: they are all there.
        let named = policy.by.iter().filter_map(|name| self.running.get(&**name));
        let authenticators = named.map(|running| Arc::clone(&running.authenticator)).collect();
        let (reserved, clock, tally) = (Arc::clone(&self.reserved), clock.clone(), Arc::clone(tally));
        Some(Arc::new(RouteAuthentication::new(policy, authenticators, reserved, clock, tally)))
    }

    /// The headers that carry credentials on the route.
    pub(crate) fn headers_of(&self, route: &Route) -> Vec<HeaderName> {
        let by = route.authentication.iter().flat_map(|policy| &policy.by);
        let running = by.filter_map(|name| self.running.get(&**name));
        running.map(|running| running.authenticator.source.header().clone()).collect()
    }

    /// The layer of a route that asks this of its callers.
    pub(crate) fn layer(&self, asked: Option<Arc<RouteAuthentication>>) -> AuthenticationLayer {
        match asked {
            Some(asked) => AuthenticationLayer::asking(asked),
            None if self.running.is_empty() => AuthenticationLayer::none(),
            None => AuthenticationLayer::stripping(Arc::clone(&self.reserved)),
        }
    }
}

fn start(name: &str, config: &AuthenticationConfig) -> Running {
    let named_as = NamedAs { by: name.into(), prefix: config.name_prefix.clone() };
    let (kind, ring) = match &config.kind {
        AuthenticationKind::ApiKeys { prefix } => {
            let ring = Arc::new(KeyRing::new(prefix, named_as, config.hides()));
            (Kind::ApiKeys(ApiKeys::new(Arc::clone(&ring))), Some(ring))
        }
    };
    let authenticator = Authenticator { name: name.into(), source: config.source.clone(), kind };
    Running { config: config.clone(), authenticator: Arc::new(authenticator), ring }
}
