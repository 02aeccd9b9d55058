//! Checks what a config says of where nodes count together.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use steadfast_core::LimitAlgorithm;
use steadfast_layers::LimitPolicy;
use steadfast_shared::{InvalidLocation, Location, OnLoss};

use super::{
    super::{
        SharedStore,
        error::secrets,
        load::read,
        raw::{At, RawConfig, RawOnLoss, RawShared},
    },
    Checker, Finding, SECRET_BYTES_MAX,
};

impl Checker<'_> {
    /// The store, where one is named and all is right with it.
    pub(super) fn shared(&mut self, raw: &RawConfig) -> Option<SharedStore> {
        let Some(shared) = &raw.shared else {
            if let Some(file) = &raw.shared_password_file {
                self.error(
                    &file.span(),
                    "`shared_password_file` is the password of a store that is not there".into(),
                    "say where it is with `shared = \"redis://…\"`, or remove `shared_password_file`".into(),
                );
            }
            return None;
        };
        let password_file = raw.shared_password_file.as_ref();
        let password = match password_file {
            None => None,
            Some(file) => {
                let read = read(Path::new(file.get()), SECRET_BYTES_MAX).map_err(|reason| {
                    let next = "create it, or make it readable for the user that the gateway runs as";
                    (
                        format!("`shared_password_file`: `{}` cannot be read: {reason}", file.get()),
                        next.into(),
                    )
                });
                Some(self.take(&file.span(), read)?)
            }
        };
        let password = password.as_deref().map(str::trim_end);
        if password.is_some_and(str::is_empty) {
            let span = password_file.map_or(0..0, |file| file.span());
            self.error(
                &span,
                "`shared_password_file` names an empty file".into(),
                "write the password into it, or remove the key".into(),
            );
            return None;
        }
        let (urls, is_cluster) = self.take(&shared.span(), urls(shared.get()))?;
        if password.is_some() && urls.iter().any(|url| !secrets(url).is_empty()) {
            self.error(
                &shared.span(),
                "`shared` and `shared_password_file` both say the password".into(),
                "leave it out of the URLs".into(),
            );
            return None;
        }
        let location = if is_cluster {
            Location::cluster(urls.iter().map(String::as_str), password)
        } else {
            Location::single(&urls[0], password)
        };
        let location = location.map_err(|invalid| (format!("`shared`: {invalid}"), next(invalid).to_owned()));
        let location = self.take(&shared.span(), location)?;
        let password_file = password_file.map(|file| PathBuf::from(file.get()));
        Some(SharedStore { urls, is_cluster, password_file, location })
    }

    /// Says of each limit whether all nodes count it together; what becomes of those while the store is lost.
    pub(super) fn shared_limits(
        &mut self,
        raw: &RawConfig,
        limits: &mut BTreeMap<String, LimitPolicy>,
    ) -> BTreeMap<String, OnLoss> {
        let mut on_loss = BTreeMap::new();
        for (name, policy) in limits {
            let stated = raw.limits[name].get();
            let shared = stated.shared.as_ref();
            policy.is_shared = raw.shared.is_some() && shared.is_none_or(|shared| *shared.get());
            if let Some(shared) = shared.filter(|shared| *shared.get() && raw.shared.is_none()) {
                self.error(
                    &shared.span(),
                    format!("`limits.{name}.shared`: there is no store that nodes share"),
                    "say where it is with `shared = \"redis://…\"` at the top, or remove this".into(),
                );
            }
            let places = policy.quota.algorithm == LimitAlgorithm::Concurrency;
            if let Some(stated) = stated.on_loss.as_ref().filter(|_| !policy.is_shared || places) {
                let why = if places {
                    "each node counts its share of places for itself"
                } else {
                    "each node counts this limit for itself"
                };
                self.error(
                    &stated.span(),
                    format!("`limits.{name}.on_loss` says nothing: {why}"),
                    "remove it".into(),
                );
            }
            if policy.is_shared && !places {
                let stated = match stated.on_loss.as_ref().map(At::get) {
                    None | Some(RawOnLoss::Share) => OnLoss::Share,
                    Some(RawOnLoss::Allow) => OnLoss::Allow,
                    Some(RawOnLoss::Deny) => OnLoss::Deny,
                };
                on_loss.insert(name.clone(), stated);
            }
        }
        on_loss
    }
}

/// The URLs, and whether they are those of a Cluster.
fn urls(raw: &RawShared) -> Finding<(Vec<String>, bool)> {
    let text = |value: &toml::Value| value.as_str().map(str::to_owned);
    let found = match &raw.0 {
        toml::Value::Array(list) => list.iter().map(text).collect::<Option<_>>().map(|urls| (urls, true)),
        one => text(one).map(|url| (vec![url], false)),
    };
    found.ok_or_else(|| {
        let next = "write \"redis://127.0.0.1:6379\", or a list of such texts for a Cluster";
        ("`shared` is neither a text nor a list of texts".into(), next.into())
    })
}

fn next(invalid: InvalidLocation) -> &'static str {
    match invalid {
        InvalidLocation::NotAUrl => "write it as \"redis://127.0.0.1:6379\", or as \"rediss://…\" for TLS",
        InvalidLocation::Nothing => "name some of the Cluster's nodes, or one server without the brackets",
        InvalidLocation::ClusterDatabase => "write \"redis://HOST:PORT\" for each node",
        InvalidLocation::ClusterSocket => {
            "write \"redis://HOST:PORT\", or name one server without the brackets"
        }
        InvalidLocation::ClusterMixed => {
            "write all of them alike, and the password into a file that `shared_password_file` names"
        }
    }
}
