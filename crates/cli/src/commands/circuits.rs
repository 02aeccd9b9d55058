//! `steadfast circuits`: how the circuits of upstreams stand, and holding them by hand, through a running gateway's admin
//! API.

use steadfast_admin::api::{CircuitOrderRequest, CircuitOrderedView, CircuitView, EndpointView};

use super::{
    admin_client::{AdminClient, escaped},
    print,
};
use crate::{
    arguments::{CircuitArguments, CircuitsArguments, CircuitsCommand, HoldArguments, Output},
    exit::Exit,
};

/// Runs the command.
pub(crate) fn run(arguments: CircuitsArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let output = arguments.output;
    match arguments.command {
        CircuitsCommand::List => list(&client, output)?,
        CircuitsCommand::Open(HoldArguments { circuit, time }) => {
            order(&client, circuit, "open", Some(time), output)?;
        }
        CircuitsCommand::Close(HoldArguments { circuit, time }) => {
            order(&client, circuit, "closed", Some(time), output)?;
        }
        CircuitsCommand::Reset(circuit) => order(&client, circuit, "automatic", None, output)?,
    }
    Ok(Exit::Ok)
}

fn list(client: &AdminClient, output: Output) -> anyhow::Result<()> {
    let endpoints: Vec<EndpointView> = client.get("/api/circuits")?;
    match output {
        Output::Json => print::json(&endpoints),
        Output::Ndjson => print::ndjson(&endpoints),
        Output::Table => {
            print::data(&print::table(HEADING, &endpoints.iter().map(row).collect::<Vec<_>>()))?;
            if endpoints.is_empty() {
                print::message("There are no upstreams.");
            }
            Ok(())
        }
    }
}

const HEADING: [&str; 8] = ["UPSTREAM", "ENDPOINT", "CIRCUIT", "SINCE", "LEFT", "FAILED", "HEALTHY", "WHY"];

fn row(endpoint: &EndpointView) -> [String; 8] {
    let dash = || "-".to_owned();
    let seconds = |seconds: f64| format!("{seconds:.0}s");
    let (state, since, left, failed, why) = match &endpoint.circuit {
        None => ("none".to_owned(), dash(), dash(), dash(), dash()),
        Some(circuit) => (
            described(circuit),
            seconds(circuit.for_seconds),
            circuit.left_seconds.map_or_else(dash, seconds),
            format!("{} of {}", circuit.failed, circuit.calls),
            circuit.why.clone(),
        ),
    };
    let healthy = if endpoint.healthy { "yes" } else { "no" }.to_owned();
    [endpoint.upstream.clone(), endpoint.endpoint.clone(), state, since, left, failed, healthy, why]
}

fn described(circuit: &CircuitView) -> String {
    let by_hand = if circuit.by_hand { " (by hand)" } else { "" };
    let shadow = if circuit.mode == "shadow" { " (shadow)" } else { "" };
    format!("{}{by_hand}{shadow}", circuit.state)
}

fn order(
    client: &AdminClient,
    circuit: CircuitArguments,
    state: &str,
    time: Option<String>,
    output: Output,
) -> anyhow::Result<()> {
    let CircuitArguments { upstream, endpoint, reason, by } = circuit;
    let order = CircuitOrderRequest { state: state.to_owned(), time, endpoint, reason, by };
    let ordered: CircuitOrderedView =
        client.post(&format!("/api/circuits/{}", escaped(&upstream)), &order)?;
    match output {
        Output::Json => print::json(&ordered),
        Output::Ndjson => print::ndjson(std::slice::from_ref(&ordered)),
        Output::Table => {
            let circuits = if ordered.circuits == 1 { "circuit is" } else { "circuits are" };
            let time = order.time.map(|time| format!(" for {time}")).unwrap_or_default();
            print::data(&format!(
                "{}: {} {circuits} {}{time}\n",
                ordered.upstream, ordered.circuits, ordered.state
            ))
        }
    }
}
