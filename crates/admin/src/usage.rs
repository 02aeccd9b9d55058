//! Who called which version of an API, as this node counted it.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;

use crate::{
    api::UsageView,
    control::{UsageBy, UsageReport},
    instant::rfc3339,
    parameters::bad_query,
    problem::Problem,
    router::AdminParts,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    version: Option<String>,
}

pub(crate) async fn list(
    State(parts): State<AdminParts>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Json<Vec<UsageView>>, Problem> {
    let Query(UsageQuery { version }) =
        query.map_err(|rejection| bad_query(&rejection, "Ask with version, or with none."))?;
    let usage = parts.control.usage().into_iter();
    let asked = usage.filter(|line| version.as_ref().is_none_or(|version| line.version == *version));
    Ok(Json(asked.map(view).collect()))
}

fn view(report: UsageReport) -> UsageView {
    let (by, caller) = match report.by {
        UsageBy::Principal(name) => ("principal", Some(name)),
        UsageBy::Credential(digest) => ("credential", Some(digest)),
        UsageBy::Anonymous => ("anonymous", None),
        UsageBy::Others => ("others", None),
    };
    UsageView {
        version: report.version,
        by: by.to_owned(),
        caller,
        requests: report.requests,
        refused: report.refused,
        first_at: rfc3339(report.first),
        last_at: rfc3339(report.last),
    }
}
