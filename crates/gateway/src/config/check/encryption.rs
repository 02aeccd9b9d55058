//! Checks what a config says of encryption: that its key file is there, holds keys, and is nobody else's.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use steadfast_ledger::Keys;

use super::{
    super::{Encryption, load::read, raw::RawEncryption},
    Checker, SECRET_BYTES_MAX,
};

/// The permissions of everybody but the owner and the group.
const OTHERS: u32 = 0o007;

impl Checker<'_> {
    pub(super) fn encryption(&mut self, raw: &RawEncryption) -> Option<Encryption> {
        let (span, name) = (raw.key_file.span(), raw.key_file.get());
        let path = Path::new(name);
        let wrong = |what: String, next: &str| {
            (format!("`encryption.key_file`: `{}` {what}", name.escape_debug()), next.to_owned())
        };
        let text = read(path, SECRET_BYTES_MAX).map_err(|reason| {
            wrong(
                format!("cannot be read: {reason}"),
                "write a key into it with `steadfast config new-key`, and make it readable for the user that the \
                 gateway runs as",
            )
        });
        let keys = text.and_then(|text| {
            Keys::parse(&text).map_err(|invalid| {
                wrong(
                    format!("is not a file of keys: {invalid}"),
                    "write it one key a line, as `steadfast config new-key` prints them, the newest first",
                )
            })
        });
        let keys = self.take(&span, keys)?;
        if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS != 0) {
            self.warn(
                &span,
                format!("everybody on this machine may read or change the keys in `{name}`: chmod 600"),
            );
        }
        Some(Encryption { key_file: path.to_owned(), keys })
    }
}
