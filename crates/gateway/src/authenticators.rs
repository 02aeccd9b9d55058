//! The authenticators of a config, running. A reload that changes nothing about one goes on with it, and with what it
//! knows.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use steadfast_layers::{
    ApiKeys, AuthenticationLayer, Authenticator, Forward, Introspection, Jwt, KeyRing, Keys, Kind, NamedAs,
    Reserved, RouteAuthentication, RouteTally,
};
use steadfast_ledger::Clock;
use steadfast_upstream::TlsError;

use crate::{
    asking::Asking,
    config::{
        AskedUrl, AuthenticationConfig, AuthenticationKind, Config, ForwardConfig, IntrospectionConfig,
        JwtConfig, JwtKeys, Route,
    },
    gateway::ReloadError,
};

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
    /// The keys of its issuer, where it has one.
    issuer: Option<Arc<Keys>>,
}

impl Authenticators {
    /// The authenticators of `config`; those of `before` that are not different go on.
    ///
    /// # Errors
    /// TLS towards one of those who are asked cannot be set up.
    pub(crate) fn running(config: &Config, before: &Self, clock: &Clock) -> Result<Self, ReloadError> {
        let started = config.authentication.iter().map(|(name, config)| {
            let same = before.running.get(name).filter(|running| running.config == *config);
            let running = match same {
                Some(same) => same.clone(),
                None => start(name, config, clock)
                    .map_err(|error| ReloadError::Authentication { name: name.clone(), error })?,
            };
            Ok((name.clone(), running))
        });
        let running = started.collect::<Result<BTreeMap<String, Running>, ReloadError>>()?;
        let told = running.values().flat_map(|running| match &running.authenticator.kind {
            Kind::Forward(forward) => forward.reserved().cloned().collect(),
            Kind::ApiKeys(_) | Kind::Jwt(_) | Kind::Introspection(_) => Vec::new(),
        });
        let reserved = Arc::new(Reserved::new(told.collect()));
        Ok(Self { running, reserved })
    }

    /// All keys of issuers that must be kept up to date.
    pub(crate) fn issuers(&self) -> Vec<Arc<Keys>> {
        self.running.values().filter_map(|running| running.issuer.clone()).collect()
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

fn start(name: &str, config: &AuthenticationConfig, clock: &Clock) -> Result<Running, TlsError> {
    let named_as = NamedAs { by: name.into(), prefix: config.name_prefix.clone() };
    let asking = |url: &AskedUrl| Asking::new(name, &url.address, clock).map(Arc::new);
    let (mut ring, mut issuer) = (None, None);
    let kind = match &config.kind {
        AuthenticationKind::ApiKeys { prefix } => {
            let keys = Arc::new(KeyRing::new(prefix, named_as, config.hides()));
            ring = Some(Arc::clone(&keys));
            Kind::ApiKeys(ApiKeys::new(keys))
        }
        AuthenticationKind::Jwt(JwtConfig { policy, keys }) => {
            let keys = Arc::new(match keys {
                JwtKeys::Url(url) => Keys::fetched(&policy.issuer, asking(url)?, url.target.clone()),
                JwtKeys::File(_, set) | JwtKeys::Secret(_, set) => Keys::given(&policy.issuer, set.clone()),
            });
            issuer = Some(Arc::clone(&keys));
            Kind::Jwt(Jwt::new(policy.clone(), keys, named_as, config.hides()))
        }
        AuthenticationKind::Introspection(IntrospectionConfig { url, policy, .. }) => {
            Kind::Introspection(Introspection::new(policy.clone(), asking(url)?, named_as, config.hides()))
        }
        AuthenticationKind::Forward(ForwardConfig { url, policy }) => {
            let credential = config.source.header().clone();
            Kind::Forward(Forward::new(policy.clone(), asking(url)?, named_as, credential, config.hides()))
        }
    };
    let authenticator = Authenticator { name: name.into(), source: config.source.clone(), kind };
    Ok(Running { config: config.clone(), authenticator: Arc::new(authenticator), ring, issuer })
}
