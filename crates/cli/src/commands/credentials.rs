//! `steadfast credentials`: API keys, made, listed, replaced and revoked through a running gateway's admin API. A key is
//! printed once, alone on the standard output, so that it can go straight to where it is kept.

use steadfast_admin::api::{
    CreateCredentialRequest, CredentialView, IssuedView, RevokeCredentialRequest, RotateCredentialRequest,
};

use super::{
    admin_client::{AdminClient, escaped, query},
    print,
};
use crate::{
    arguments::{
        CreateCredentialArguments, CredentialsArguments, CredentialsCommand, Output,
        RevokeCredentialArguments, RotateCredentialArguments,
    },
    exit::{Exit, failed},
};

/// Runs the command.
pub(crate) fn run(arguments: CredentialsArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let output = arguments.output;
    match arguments.command {
        CredentialsCommand::List { principal, all } => list(&client, principal.as_deref(), all, output)?,
        CredentialsCommand::Create(create) => issued(&client, "/api/credentials", &order(create)?, output)?,
        CredentialsCommand::Rotate(RotateCredentialArguments { id, overlap, expires_in, reason, by }) => {
            let order = RotateCredentialRequest { overlap: Some(overlap), expires_in, by, reason };
            issued(&client, &format!("/api/credentials/{}/rotate", escaped(&id)), &order, output)?;
        }
        CredentialsCommand::Revoke(RevokeCredentialArguments { id, reason, by }) => {
            let path = format!("/api/credentials/{}/revoke", escaped(&id));
            let revoked: CredentialView = client.post(&path, &RevokeCredentialRequest { by, reason })?;
            match output {
                Output::Json => print::json(&revoked)?,
                Output::Ndjson => print::ndjson(std::slice::from_ref(&revoked))?,
                Output::Table => {
                    print::data(&format!("{} of {} is revoked\n", revoked.id, revoked.principal))?
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn order(arguments: CreateCredentialArguments) -> anyhow::Result<CreateCredentialRequest> {
    let CreateCredentialArguments { principal, authenticator, scopes, attributes, expires_in, reason, by } =
        arguments;
    let pairs = attributes.iter().map(|pair| {
        let pair = pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        pair.ok_or_else(|| failed(Exit::Usage, "an attribute is written NAME=VALUE, such as plan=pro"))
    });
    let attributes = pairs.collect::<Result<_, _>>()?;
    Ok(CreateCredentialRequest { principal, authenticator, scopes, attributes, expires_in, by, reason })
}

fn issued(
    client: &AdminClient,
    path: &str,
    order: &impl serde::Serialize,
    output: Output,
) -> anyhow::Result<()> {
    let issued: IssuedView = client.post(path, order)?;
    match output {
        Output::Json => print::json(&issued),
        Output::Ndjson => print::ndjson(std::slice::from_ref(&issued)),
        Output::Table => {
            let CredentialView { id, principal, expires_at, replaces, .. } = &issued.credential;
            let until =
                expires_at.as_ref().map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
            let replaced = replaces.as_ref().map(|old| format!(", in place of {old}")).unwrap_or_default();
            print::message(&format!(
                "The key {id} of {principal} is good {until}{replaced}. It is shown this once:"
            ));
            print::data(&format!("{}\n", issued.key))
        }
    }
}

fn list(client: &AdminClient, principal: Option<&str>, all: bool, output: Output) -> anyhow::Result<()> {
    let asked = query(&[("principal", principal), ("all", all.then_some("true"))]);
    let credentials: Vec<CredentialView> = client.get(&format!("/api/credentials{asked}"))?;
    match output {
        Output::Json => print::json(&credentials),
        Output::Ndjson => print::ndjson(&credentials),
        Output::Table => {
            print::data(&print::table(HEADING, &credentials.iter().map(row).collect::<Vec<_>>()))?;
            if credentials.is_empty() {
                print::message("There are none. Make one with steadfast credentials create PRINCIPAL.");
            }
            Ok(())
        }
    }
}

const HEADING: [&str; 8] =
    ["ID", "PRINCIPAL", "STATE", "SCOPES", "ATTRIBUTES", "CREATED", "EXPIRES", "LAST USED"];

fn row(credential: &CredentialView) -> [String; 8] {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let minutes = |time: &str| time.get(..16).unwrap_or(time).replace('T', " ");
    let attributes: Vec<String> =
        credential.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [
        credential.id.clone(),
        credential.principal.clone(),
        credential.state.clone(),
        or_dash(credential.scopes.join(" ")),
        or_dash(attributes.join(" ")),
        minutes(&credential.created_at),
        credential.expires_at.as_deref().map_or_else(|| "never".to_owned(), minutes),
        credential.last_used_at.as_deref().map_or_else(|| "never".to_owned(), minutes),
    ]
}
