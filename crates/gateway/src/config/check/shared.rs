//! Checks what a config says of where nodes count together.

use std::path::{Path, PathBuf};

use steadfast_shared::{InvalidLocation, Location};

use super::{
    super::{
        SharedStore,
        error::secrets,
        load::read,
        raw::{RawConfig, RawShared},
    },
    Checker, SECRET_BYTES_MAX,
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
        let (urls, is_cluster) = match shared.get() {
            RawShared::Server(url) => (vec![url.clone()], false),
            RawShared::Cluster(urls) => (urls.clone(), true),
        };
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
