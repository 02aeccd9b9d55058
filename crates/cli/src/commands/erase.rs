//! `steadfast operations erase`: counts first, asks, and then erases step by step, through a running gateway's admin API.

use std::io::{BufRead, IsTerminal, Read, Write};

use anyhow::Context;
use steadfast_admin::api::{EraseRequest, ErasedView};
use steadfast_core::CredentialDigest;

use super::{admin_client::AdminClient, print};
use crate::{
    arguments::{EraseArguments, Output},
    exit::{Exit, failed},
};

/// The longest credential that is read, in bytes.
const CREDENTIAL_BYTES_MAX: u64 = 64 << 10;

/// How many of the operations that were left are named to people; `-o json` names all.
const NAMED_MAX: usize = 20;

pub(super) fn run(client: &AdminClient, arguments: &EraseArguments, output: Output) -> anyhow::Result<()> {
    let credential = match arguments.credential_header.as_slice() {
        [] => arguments.credential.clone(),
        headers => Some(read_credential(headers)?),
    };
    let mut order = EraseRequest {
        principal: arguments.principal.clone(),
        credential,
        namespace: arguments.namespace.clone(),
        reason: arguments.reason.clone(),
        by: arguments.by.clone(),
        from: None,
        dry_run: true,
    };
    if arguments.dry_run || !arguments.yes {
        let planned = all(client, &mut order)?;
        if arguments.dry_run {
            return told(&planned, "would be erased", output);
        }
        confirm(&planned)?;
    }
    order.dry_run = false;
    told(&all(client, &mut order)?, "erased", output)
}

/// Asks again and again until all were looked at; the sum of it.
fn all(client: &AdminClient, order: &mut EraseRequest) -> anyhow::Result<ErasedView> {
    let mut sum = ErasedView { dry_run: order.dry_run, ..ErasedView::default() };
    order.from = None;
    loop {
        let step: ErasedView = client.post("/api/erase", order)?;
        sum.erased += step.erased;
        sum.left.extend(step.left);
        order.from = step.next;
        if order.from.is_none() {
            return Ok(sum);
        }
    }
}

fn told(erased: &ErasedView, verb: &str, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => return print::json(erased),
        Output::Ndjson => return print::ndjson(std::slice::from_ref(erased)),
        Output::Table => print::data(&format!("{} operations {verb}\n", erased.erased))?,
    }
    if !erased.left.is_empty() {
        print::message(&format!(
            "{} were left, because they are unfinished or in doubt. Settle those in doubt, and erase again:",
            erased.left.len()
        ));
        erased.left.iter().take(NAMED_MAX).for_each(|id| print::message(id));
        if let Some(more) = erased.left.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            print::message(&format!("and {more} more (-o json names them)"));
        }
    }
    Ok(())
}

/// Says what is about to go, and waits for a yes.
#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn confirm(planned: &ErasedView) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(failed(
            Exit::Usage,
            "nobody can be asked whether to erase: say --yes, or --dry-run to see how many operations that would be",
        ));
    }
    let left = planned.left.len();
    eprint!(
        "{} operations lose their answers, paths, keys and owners for good; {left} are left. Their keys stay taken. \
         Erase? [y/N] ",
        planned.erased
    );
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(failed(Exit::Failure, "nothing was changed"))
}

/// The digest of the credential on the standard input: there it is in no list of processes and no shell's history.
fn read_credential(headers: &[String]) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(CREDENTIAL_BYTES_MAX).read_to_string(&mut text);
    read.context("the credential could not be read from the standard input")?;
    digest(headers, &text)
}

fn digest(headers: &[String], text: &str) -> anyhow::Result<String> {
    let values: Vec<&str> = text.lines().map(str::trim).collect();
    if values.len() != headers.len() || values.iter().any(|value| value.is_empty()) {
        return Err(failed(
            Exit::Usage,
            format!("the standard input must hold the values of {} headers, one a line", headers.len()),
        ));
    }
    let names: Vec<String> = headers.iter().map(|name| name.to_ascii_lowercase()).collect();
    let pairs = names.iter().map(String::as_str).zip(values.iter().map(|value| value.as_bytes()));
    let digest = CredentialDigest::of(pairs).context("no header was named")?;
    Ok(format!("{:032x}", u128::from_be_bytes(*digest.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_the_digest_that_the_gateway_gives_it() {
        let expected = CredentialDigest::of([("authorization", &b"Bearer abc"[..])]).expect("a credential");
        let expected = format!("{:032x}", u128::from_be_bytes(*expected.as_bytes()));
        let header = ["Authorization".to_owned()];
        for text in ["Bearer abc", "Bearer abc\n", " Bearer abc \r\n"] {
            assert_eq!(digest(&header, text).expect("a digest"), expected);
        }
        for text in ["", "\n", "one\ntwo"] {
            assert!(digest(&header, text).is_err(), "{text:?}");
        }
        let two = ["x-key".to_owned(), "x-secret".to_owned()];
        assert_ne!(digest(&two, "a\nb").expect("a digest"), digest(&two, "b\na").expect("a digest"));
    }
}
