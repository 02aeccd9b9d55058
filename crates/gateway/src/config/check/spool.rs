//! Checks what a config says of large bodies: where they wait, and whether they fit there.

use std::path::{Path, PathBuf};

use steadfast_layers::{IdempotencyPolicy, SpoolLimits};

use super::{
    super::{
        LedgerLocation,
        raw::{At, RawConfig, RawFingerprint, RawIdempotency, RawKey},
        size::write_size,
    },
    Checker,
};

impl Checker<'_> {
    pub(super) fn spool(&mut self, raw: &RawConfig, ledger: Option<&LedgerLocation>) -> SpoolLimits {
        let default = SpoolLimits::default();
        let spool = raw.spool.as_ref().map(At::get);
        if let Some(folder) = spool.and_then(|spool| spool.folder.as_ref())
            && folder.get().is_empty()
        {
            let next = "name a folder on a disk, or remove `folder`";
            self.error(&folder.span(), "`spool.folder` is empty".into(), next.into());
        }
        let stated = spool.and_then(|spool| spool.folder.as_ref()).map(|folder| folder.get().into());
        let limits = SpoolLimits {
            folder: stated.unwrap_or_else(|| default_folder(ledger, default.folder)),
            bytes_max: spool
                .and_then(|spool| spool.bytes_max.as_ref())
                .map_or(default.bytes_max, |size| size.get().0),
            requests_max: spool
                .and_then(|spool| spool.requests_max.as_ref())
                .map_or(default.requests_max, |number| *number.get()),
            memory_max: spool
                .and_then(|spool| spool.memory_max.as_ref())
                .map_or(default.memory_max, |size| size.get().0),
        };
        for route in raw.routes.iter().filter_map(|route| route.get().idempotency.as_ref()) {
            self.fits(route.get(), &limits);
        }
        limits
    }

    /// Says where a route promises to take bodies that it never could.
    fn fits(&mut self, route: &RawIdempotency, limits: &SpoolLimits) {
        let Some(bytes_max) = &route.request_bytes_max else { return };
        let (span, stated) = (bytes_max.span(), bytes_max.get().0);
        let default = IdempotencyPolicy::for_route("").request_memory_max as u64;
        let memory_max = route.request_memory_max.as_ref().map_or(default, |size| size.get().0);
        if stated <= memory_max || self.partial {
            return;
        }
        let key = route.key.as_ref().map(At::get);
        let fingerprint = route.fingerprint.as_ref().map(At::get);
        let why = match (key, fingerprint) {
            (Some(RawKey::Field(_) | RawKey::Fields(_)), _) => "keys are read from bodies",
            _ if limits.requests_max == 0 => "`spool.requests_max` is 0",
            _ if stated > limits.bytes_max => {
                let most = write_size(limits.bytes_max);
                let what = format!("such a body is larger than `spool.bytes_max` ({most})");
                return self.error(&span, what, "raise `spool.bytes_max`, or lower this".into());
            }
            (_, Some(RawFingerprint::Json(_))) => "JSON is compared as such",
            _ => return,
        };
        let most = write_size(memory_max);
        self.warn(
            &span,
            format!(
                "{why}, so bodies of more than `request_memory_max` ({most}) are refused: raise that too"
            ),
        );
    }
}

/// Beside the ledger there is a disk, with room that the gateway may write to; the system's folder for temporary
/// files is often memory.
fn default_folder(ledger: Option<&LedgerLocation>, temporary: PathBuf) -> PathBuf {
    match ledger {
        Some(LedgerLocation::Sqlite(file)) => match file.parent() {
            Some(folder) if folder != Path::new("") => folder.into(),
            _ => ".".into(),
        },
        Some(LedgerLocation::Postgres(_)) | None => temporary,
    }
}
