//! Checks what a config says of doing a route's requests in the background.

use http::{HeaderName, header};
use steadfast_core::Backoff;
use steadfast_layers::{
    BackgroundMode, BackgroundPolicy, IdempotencyPolicy, OnLedgerLoss, Ordering, OrderingKey,
};
use steadfast_ledger::{LaneTrouble, Priority};

use super::{
    super::raw::{At, RawBackground, RawBackgroundMode, RawOrderTrouble, RawOrdering},
    Checker, time_or, whole,
};

impl Checker<'_> {
    /// `idempotency` is what the route says of its keys, `encrypts` whether the ledger is encrypted.
    pub(super) fn background(
        &mut self,
        raw: &At<RawBackground>,
        idempotency: &IdempotencyPolicy,
        encrypts: bool,
    ) -> BackgroundPolicy {
        let (span, raw) = (raw.span(), raw.get());
        let default = BackgroundPolicy::new(match raw.mode.get() {
            RawBackgroundMode::Always => BackgroundMode::Always,
            RawBackgroundMode::Allowed => BackgroundMode::Allowed,
            RawBackgroundMode::OnFailure => BackgroundMode::OnFailure,
        });
        if default.mode == BackgroundMode::Always && idempotency.on_ledger_loss == OnLedgerLoss::Forward {
            let what = "`idempotency.on_ledger_loss = \"forward\"` says nothing on a route with `async = \"always\"`: what \
                        is to be done later cannot be promised without the ledger";
            self.error(&span, what.into(), "remove one of the two".into());
        }
        let number = |raw: &Option<At<u64>>, otherwise: u32| {
            raw.as_ref().map_or(otherwise, |number| u32::try_from(*number.get()).unwrap_or(u32::MAX))
        };
        let priority = raw.priority.as_ref().and_then(|priority| i16::try_from(*priority.get()).ok());
        BackgroundPolicy {
            tries_max: number(&raw.attempts, default.tries_max),
            age_max: time_or(raw.max_age.as_ref(), default.age_max),
            backoff: self.background_pauses(raw, default.backoff),
            concurrency: number(&raw.concurrency, default.concurrency),
            delay_max: time_or(raw.max_delay.as_ref(), default.delay_max),
            priority: priority.map_or(default.priority, Priority),
            ordering: self.ordering(raw),
            kept_credentials: self.kept_credentials(raw, idempotency, encrypts),
            request_bytes_max: raw
                .max_body
                .as_ref()
                .map_or(default.request_bytes_max, |size| whole(size.get().0)),
            wait_max: time_or(raw.max_wait.as_ref(), default.wait_max),
            ..default
        }
    }

    fn background_pauses(&mut self, raw: &RawBackground, default: Backoff) -> Backoff {
        let base = time_or(raw.base.as_ref(), default.base);
        // Where one of the two is stated the other stays in step with it.
        let cap = time_or(raw.cap.as_ref(), default.cap.max(base));
        let base = if raw.base.is_none() { base.min(cap) } else { base };
        if let Some(stated) = raw.cap.as_ref().filter(|_| cap < base && !self.partial) {
            let what = "`async.cap` is shorter than `async.base`, so no pause ever grows";
            self.error(&stated.span(), what.into(), "lengthen cap, or shorten base".into());
        }
        Backoff { base, cap }
    }

    fn ordering(&mut self, raw: &RawBackground) -> Option<Ordering> {
        let trouble = match raw.order_trouble.as_ref().map(At::get) {
            None | Some(RawOrderTrouble::Blocks) => LaneTrouble::Blocks,
            Some(RawOrderTrouble::Passes) => LaneTrouble::Passes,
        };
        let Some(ordering) = &raw.ordering else {
            if let Some(trouble) = raw.order_trouble.as_ref().filter(|_| !self.partial) {
                let what = "`async.order_trouble` without `async.ordering` does nothing";
                let next = "remove it, or say what is in order: ordering = { header = \"X-Account\" }";
                self.error(&trouble.span(), what.into(), next.into());
            }
            return None;
        };
        let by = match ordering.get() {
            RawOrdering::Header(name) => OrderingKey::Header(self.header_name(name, "X-Account")?),
            RawOrdering::Field(path) => OrderingKey::Field(self.fields(std::slice::from_ref(path)).concat()),
        };
        Some(Ordering { by, trouble })
    }

    fn kept_credentials(
        &mut self,
        raw: &RawBackground,
        idempotency: &IdempotencyPolicy,
        encrypts: bool,
    ) -> Vec<HeaderName> {
        const ALWAYS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
        let Some(list) = &raw.keep_credentials else { return Vec::new() };
        if !encrypts && !list.get().is_empty() && !self.partial {
            let what = "`async.keep_credentials` would write credentials into a ledger that is not encrypted";
            let next = "add [encryption] with a key file, or remove it: the gateway can add a credential of its own by \
                        `request_headers`";
            self.error(&list.span(), what.into(), next.into());
        }
        let mut names = Vec::new();
        for text in list.get() {
            let Some(name) = self.header_name(text, "Authorization") else { continue };
            let is_credential =
                ALWAYS.contains(&name) || idempotency.identity.credential_headers.contains(&name);
            if !is_credential {
                let what = format!("`{name}` is kept anyway: it carries no credential");
                let next = "remove it here, or name it in `idempotency.credential_headers`";
                self.error(&text.span(), what, next.into());
            } else if names.contains(&name) {
                self.error(&text.span(), format!("`{name}` is there twice"), "remove one of them".into());
            } else {
                names.push(name);
            }
        }
        names
    }

    fn header_name(&mut self, text: &At<String>, example: &str) -> Option<HeaderName> {
        let parsed = HeaderName::from_bytes(text.get().as_bytes()).map_err(|_| {
            let what = format!("`{}` is not the name of a header", text.get().escape_debug());
            (what, format!("write one such as {example}"))
        });
        self.take(&text.span(), parsed)
    }
}
