//! Erasing what is kept of somebody's operations: a bounded number a call, each call written down, without a word of
//! whose they were.

use axum::{Json, body::Body, extract::State};
use steadfast_core::{CredentialDigest, Namespace, Principal};
use steadfast_ledger::{Cursor, Erase, Erased, LedgerError, Whose};

use crate::{
    api::{EraseRequest, ErasedView},
    parameters::read_json,
    problem::Problem,
    router::AdminParts,
    settle::{BY_CHARS_MAX, REASON_CHARS_MAX, stated},
};

const BODY_BYTES_MAX: usize = 64 << 10;

/// How many operations one call erases: some milliseconds of the ledger's time.
const ERASED_AT_ONCE: u32 = 500;

const EXPECTED: &str = "Send one of \"principal\", \"credential\" and \"namespace\", \"reason\": \"…\", \"by\": \"…\", with \
                        \"from\" where the call before it ended and \"dry_run\": true to count.";

pub(crate) async fn erase(State(parts): State<AdminParts>, body: Body) -> Result<Json<ErasedView>, Problem> {
    let request: EraseRequest = read_json(body, BODY_BYTES_MAX, EXPECTED).await?;
    let why = "Say why, in words that need not be erased themselves: the number of a ticket.";
    let reason = stated("reason", &request.reason, REASON_CHARS_MAX, why)?;
    let by = stated("by", &request.by, BY_CHARS_MAX, "Say who you are: your name, or your account's.")?;
    let (kind, whose) = whose(&request)?;
    let from = request.from.as_deref().map(cursor).transpose()?;
    let dry_run = request.dry_run;
    let order = Erase { whose, from, limit: ERASED_AT_ONCE, dry_run };
    let erased = erase_and_scour(&parts, order).await;
    let (count, left, result) = match &erased {
        Ok(erased) => (erased.erased, erased.left.len(), "done".to_owned()),
        Err(error) => (0, 0, format!("failed: {error}")),
    };
    tracing::info!(
        target: "audit",
        action = "erase",
        by_their = kind,
        dry_run,
        erased = count,
        left,
        by = &*by,
        reason = &*reason,
        result,
        "an erasure was asked for"
    );
    let Erased { erased, left, next } = erased?;
    Ok(Json(ErasedView {
        erased: erased.into(),
        left: left.iter().map(ToString::to_string).collect(),
        next: next.map(|Cursor(at)| at.to_string()),
        dry_run,
    }))
}

/// Erases, and where that was the last of it, makes sure that nothing is left beside the tables: also where an earlier
/// call was cut off before it could.
async fn erase_and_scour(parts: &AdminParts, order: Erase) -> Result<Erased, LedgerError> {
    let dry_run = order.dry_run;
    let erased = parts.ledger.erase(order).await?;
    if erased.next.is_none() && !dry_run {
        parts.ledger.scour().await?;
    }
    Ok(erased)
}

fn whose(request: &EraseRequest) -> Result<(&'static str, Whose), Problem> {
    let not_one =
        || Problem::bad_request("It does not say whose operations are meant, or says it twice.", EXPECTED);
    match (&request.principal, &request.credential, &request.namespace) {
        (Some(name), None, None) if !name.is_empty() => {
            Ok(("principal", Whose::Principal(Principal::new(name))))
        }
        (None, Some(digits), None) => {
            let digest = (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok()).flatten();
            let digest = digest.ok_or_else(|| {
                Problem::bad_request(
                    "`credential` is not the digest of a credential: 32 hexadecimal digits.",
                    "Take it from an operation: GET /api/operations/ID.",
                )
            })?;
            Ok(("credential", Whose::Credential(CredentialDigest::from_bytes(digest.to_be_bytes()))))
        }
        (None, None, Some(name)) => {
            let namespace = Namespace::new(name).map_err(|_| not_one())?;
            Ok(("namespace", Whose::Namespace(namespace)))
        }
        _ => Err(not_one()),
    }
}

fn cursor(text: &str) -> Result<Cursor, Problem> {
    text.parse().map(Cursor).map_err(|_| {
        Problem::bad_request(
            "`from` is not where a call ended.",
            "Send the next of the call before it, as it came.",
        )
    })
}
