//! The command line. Help begins with examples, and names the environment variable beside each flag.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A reliability gateway for HTTP APIs: retried writes take effect once.
#[derive(Debug, Parser)]
#[command(
    name = "steadfast",
    version,
    before_help = "Examples:\n  steadfast demo                             see it work, with traffic and faults\n  steadfast up --to http://localhost:8000    put it in front of an API, without a config\n  steadfast serve --config steadfast.toml    run it\n  steadfast operations list --state in_doubt what needs a person"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put a gateway in front of one API, without a config
    Up(UpArguments),
    /// Run a gateway from a config file
    Serve(ServeArguments),
    /// Write, check or show a config
    Config(ConfigArguments),
    /// List, show and settle operations
    Operations(OperationsArguments),
    /// Look at dead letters, send them round again, edit or remove them
    DeadLetters(DeadLettersArguments),
    /// Say what each route has to do in the background, let it rest, and call operations off
    Queue(QueueArguments),
    /// Say why a request was refused, or slow
    Explain(ExplainArguments),
    /// Show how much a running gateway keeps of answers, or make it forget some
    Cache(CacheArguments),
    /// List the circuits of upstreams, and hold them open or closed for a time
    Circuits(CircuitsArguments),
    /// Say who still calls which version of an API
    Usage(UsageArguments),
    /// List the limits on callers, and see, reset or raise what one caller is counted
    Limits(LimitsArguments),
    /// Keep out addresses, networks and principals, and let them in again
    Bans(BansArguments),
    /// Make, list, replace and revoke API keys
    Credentials(CredentialsArguments),
    /// Make a running gateway read its config again
    Reload(AdminArguments),
    /// Say how a running gateway is doing
    Status(StatusArguments),
    /// Exit 0 if a running gateway is alive (or ready): for container checks
    Health(HealthArguments),
    /// Run everything at once, with traffic and faults, and prove that nothing happened twice
    #[cfg(feature = "demo")]
    Demo(DemoArguments),
    /// Print a shell's completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Where a running gateway's admin API is.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArguments {
    /// The admin address of the running gateway
    #[arg(long, env = "STEADFAST_ADMIN", default_value = "127.0.0.1:8081", global = true)]
    pub(crate) admin: SocketAddr,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line
    Ndjson,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast up --to http://localhost:8000\n  steadfast up --to http://localhost:8000 --refused 503 --repeatable-for 24h"
)]
pub(crate) struct UpArguments {
    /// The API to put it in front of
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Where to serve callers
    #[arg(long, env = "STEADFAST_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where to serve the admin API: a loopback address
    #[arg(long, env = "STEADFAST_ADMIN", default_value = "127.0.0.1:8081")]
    pub(crate) admin: SocketAddr,
    /// Where to keep the ledger: sqlite:PATH or postgres://…
    #[arg(long, env = "STEADFAST_LEDGER", default_value = "sqlite:steadfast.db")]
    pub(crate) ledger: String,
    /// The API takes the same Idempotency-Key once, for this long (24h, say): unknown outcomes may run again
    #[arg(long, value_name = "DURATION")]
    pub(crate) repeatable_for: Option<String>,
    /// Statuses by which the API says that it executed nothing (429 and 425 always do)
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub(crate) refused: Vec<u16>,
    /// How long the API may take to answer
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) timeout: String,
    /// Worker threads; one per core unless stated
    #[arg(long, env = "STEADFAST_WORKERS")]
    pub(crate) workers: Option<usize>,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast serve --config steadfast.toml\n  steadfast serve --watch\n  STEADFAST_LEDGER=postgres://… steadfast serve"
)]
pub(crate) struct ServeArguments {
    /// The config file [default: ./steadfast.toml, then /etc/steadfast/steadfast.toml]
    #[arg(long, env = "STEADFAST_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Reload when the config, or a file that it names with `*_file`, says something else (SIGHUP reloads either way)
    #[arg(long, env = "STEADFAST_WATCH", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) watch: bool,
    /// Where to serve callers, instead of what the config says
    #[arg(long, env = "STEADFAST_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where to serve the admin API, instead of what the config says
    #[arg(long, env = "STEADFAST_ADMIN")]
    pub(crate) admin: Option<SocketAddr>,
    /// Where to keep the ledger, instead of what the config says
    #[arg(long, env = "STEADFAST_LEDGER")]
    pub(crate) ledger: Option<String>,
    /// Worker threads, instead of what the config says
    #[arg(long, env = "STEADFAST_WORKERS")]
    pub(crate) workers: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a commented config to start from
    Init {
        /// Where to write it; nothing is overwritten
        #[arg(default_value = "steadfast.toml")]
        file: PathBuf,
    },
    /// Say whether a config is valid, and where it is not
    Check {
        /// The config file
        #[arg(long, env = "STEADFAST_CONFIG", default_value = "steadfast.toml", value_name = "FILE")]
        config: PathBuf,
    },
    /// Print a config
    Show {
        /// The config file
        #[arg(long, env = "STEADFAST_CONFIG", default_value = "steadfast.toml", value_name = "FILE")]
        config: PathBuf,
        /// With every default and override filled in, and secrets left out
        #[arg(long)]
        effective: bool,
    },
    /// Say what a reload would change in a running gateway
    Diff(ConfigDiffArguments),
    /// Print the JSON Schema of configs
    Schema,
    /// Print a new encryption key, as a line for the config's encryption.key_file
    NewKey,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast config diff\n  steadfast config diff --config next.toml -o json\n  steadfast config diff && echo 'nothing to reload'",
    after_help = "Exit codes: 0 where nothing differs, 1 where something does, 3 where the file is not valid, 6 where no gateway answers.\n\nVariables in the file's texts (${NAME}) are read from this command's environment. What a flag or a STEADFAST_… variable of the running gateway goes before is left out. Passwords are not compared."
)]
pub(crate) struct ConfigDiffArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// The config file [default: the one that the running gateway reads]
    #[arg(long, env = "STEADFAST_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct OperationsArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: OperationsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperationsCommand {
    /// List operations, newest first
    List {
        /// Only those in this state: in_doubt, dead, claimed, completed, released…
        #[arg(long)]
        state: Option<String>,
        /// Only those of this route
        #[arg(long)]
        route: Option<String>,
        /// Only those with this key
        #[arg(long)]
        key: Option<String>,
        /// Only those in which two stories contradict each other
        #[arg(long)]
        cases: bool,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one operation with its attempts
    Get {
        /// Its id
        id: String,
        /// With the body of its stored answer
        #[arg(long)]
        body: bool,
    },
    /// Write down what really happened to an operation in doubt
    Settle(SettleArguments),
    /// Remove what is kept of somebody's finished operations; their keys stay taken
    Erase(EraseArguments),
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast operations erase --principal ada --reason 'ticket 4711'\n  printf 'Bearer abc' | steadfast operations erase --credential-header Authorization --reason 'ticket 4711' --yes",
    group = clap::ArgGroup::new("whose").required(true).args(["principal", "credential", "credential_header", "namespace"])
)]
pub(crate) struct EraseArguments {
    /// Those that this principal made
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// Those made with the credential of this digest, as `operations get` prints it
    #[arg(long, value_name = "DIGEST")]
    pub(crate) credential: Option<String>,
    /// Those made with the credential that is read from the standard input: the value of this header. Several, in the
    /// order of the route's credential_headers, have their values one a line
    #[arg(long, value_name = "HEADER", value_delimiter = ',')]
    pub(crate) credential_header: Vec<String>,
    /// Those in this namespace, whoever made them
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Why; it is logged, so name no one
    #[arg(long)]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
    /// Only count
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast operations settle op_… --happened --reason 'charge ch_1 is on the statement'\n  steadfast operations settle op_… --did-not-happen --reason 'the bank has no trace of it' --yes"
)]
pub(crate) struct SettleArguments {
    /// Its id
    pub(crate) id: String,
    /// It took effect
    #[arg(long, conflicts_with = "did_not_happen", required_unless_present = "did_not_happen")]
    pub(crate) happened: bool,
    /// It took no effect: the next request with its key executes afresh
    #[arg(long)]
    pub(crate) did_not_happen: bool,
    /// How you know
    #[arg(long)]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
    /// The answer's status, if it is known: replays will give it
    #[arg(long, requires = "happened")]
    pub(crate) answer_status: Option<u16>,
    /// A file with the answer's body
    #[arg(long, requires = "answer_status", value_name = "FILE")]
    pub(crate) answer_body: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Why something is done by hand, and by whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct ByHandArguments {
    /// Why; it is logged
    #[arg(long)]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast dead-letters list                                      what died, and of what\n  steadfast dead-letters list --route orders --status 503          each of them\n  steadfast dead-letters show op_…                                 its request and every attempt\n  steadfast dead-letters redrive --route orders --status 503 --dry-run\n  steadfast dead-letters redrive --route orders --status 503 --canary 5 --rate 10/s --reason 'the bank is back'\n  steadfast dead-letters runs                                      how far that is"
)]
pub(crate) struct DeadLettersArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

/// Which dead letters are meant: those that pass all that is said.
#[derive(Clone, Debug, Args)]
pub(crate) struct LetterFilterArguments {
    /// Only those of this route
    #[arg(long)]
    pub(crate) route: Option<String>,
    /// Only those whose last attempt ended so: refused, not_sent or unknown
    #[arg(long, value_parser = ["refused", "not_sent", "unknown"])]
    pub(crate) end: Option<String>,
    /// Only those whose last attempt failed for this reason, as it is listed: timeout, say
    #[arg(long)]
    pub(crate) cause: Option<String>,
    /// Only those whose last attempt was answered with this status
    #[arg(long)]
    pub(crate) status: Option<u16>,
    /// Only those that have been dead for longer than this: 30m, 1h, 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<String>,
    /// Only those of which nobody knows whether they took effect
    #[arg(long, conflicts_with = "not_in_doubt")]
    pub(crate) in_doubt: bool,
    /// Only those that surely took no effect
    #[arg(long)]
    pub(crate) not_in_doubt: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Count dead letters by what made them dead; with --route or --each, list single ones, the oldest first
    List {
        #[command(flatten)]
        filter: LetterFilterArguments,
        /// List single ones of all routes
        #[arg(long)]
        each: bool,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one: its request without secrets, every attempt, and whether it can be redriven
    Show {
        /// Its id
        id: String,
        /// Its request's whole body too (that is logged)
        #[arg(long)]
        body: bool,
    },
    /// Send dead letters round again under the same key: some by id, or those that pass a filter, as a run
    Redrive(RedriveArguments),
    /// Remove what dead letters hold; their keys stay taken. What is in doubt stays
    Purge(PurgeLettersArguments),
    /// Make a new operation of one, with a key of its own and another body or header; never of one in doubt
    Edit(EditLetterArguments),
    /// Write down what really happened to one: the same as operations settle
    Settle(SettleArguments),
    /// List the runs that redrive by a filter, and how far they are
    Runs,
    /// Stop a run: what was sent round again goes on
    Stop {
        /// Its number
        run: u64,
        #[command(flatten)]
        by_hand: ByHandArguments,
    },
    /// Let a run that was stopped go on; what was tried first and died again is tried again first
    Resume {
        /// Its number
        run: u64,
        #[command(flatten)]
        by_hand: ByHandArguments,
    },
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast dead-letters redrive op_… op_… --reason 'the card was unblocked'\n  steadfast dead-letters redrive --route orders --status 503 --dry-run\n  steadfast dead-letters redrive --route orders --status 503 --canary 5 --rate 10/s --reason 'the bank is back'"
)]
pub(crate) struct RedriveArguments {
    /// Their ids; or say below which are meant
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: LetterFilterArguments,
    /// How many at most: 10/s, 100/min, 50/h [default: 10/s]
    #[arg(long)]
    pub(crate) rate: Option<String>,
    /// Try so many first; the rest follows when all of them are completed
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) canary: u32,
    /// Only count
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why; it is logged
    #[arg(long, required_unless_present = "dry_run")]
    pub(crate) reason: Option<String>,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeLettersArguments {
    /// Their ids; or say below which are meant
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: LetterFilterArguments,
    /// Only count
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Why; it is logged
    #[arg(long, required_unless_present = "dry_run")]
    pub(crate) reason: Option<String>,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct EditLetterArguments {
    /// Its id
    pub(crate) id: String,
    /// A file with its body from now on
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
    /// A header field from now on: 'name: value'; it takes the place of those with the same name
    #[arg(long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// A header field to leave out
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_header: Vec<String>,
    /// Remove the original then
    #[arg(long)]
    pub(crate) purge: bool,
    #[command(flatten)]
    pub(crate) by_hand: ByHandArguments,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast queue list\n  steadfast queue pause orders --for 2h --reason 'the bank asked for it'\n  steadfast queue resume orders --reason 'the bank is back'\n  steadfast queue cancel op_… --reason 'ordered by mistake'"
)]
pub(crate) struct QueueArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Say what each route has to do, and which rest, by whom and why
    List,
    /// Let nothing of a route be sent, on every node: for a time, or until it is resumed
    Pause {
        /// The route's name
        route: String,
        /// For how long: 30m, 2h, 7d; until it is resumed unless stated
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        #[command(flatten)]
        by_hand: ByHandArguments,
    },
    /// Let a route go on that rests
    Resume {
        /// The route's name
        route: String,
        #[command(flatten)]
        by_hand: ByHandArguments,
    },
    /// Call operations off that were not sent yet
    Cancel {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        by_hand: ByHandArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CacheArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Say how much is kept
    Show,
    /// Forget kept answers
    Purge(PurgeArguments),
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast cache purge --url https://api.example.com/orders?page=1\n  steadfast cache purge --prefix /orders\n  steadfast cache purge --tag product-17",
    group = clap::ArgGroup::new("what").required(true).args(["url", "prefix", "tag", "all"])
)]
pub(crate) struct PurgeArguments {
    /// Those of this URL, or of this path and query on every host
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Those of URLs, or of paths, that begin with this
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Those with this tag
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// All of them
    #[arg(long)]
    pub(crate) all: bool,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast circuits list\n  steadfast circuits open bank --for 10m --reason 'its maintenance window'\n  steadfast circuits reset bank"
)]
pub(crate) struct CircuitsArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: CircuitsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CircuitsCommand {
    /// List the endpoints of every upstream, and how their circuits stand
    List,
    /// Send nothing to an upstream for a time; a few probes find out what follows
    Open(HoldArguments),
    /// Send to an upstream for a time, whatever becomes of it
    Close(HoldArguments),
    /// Let an upstream's circuits go by what happens again, from a clean slate
    Reset(CircuitArguments),
}

#[derive(Debug, Args)]
pub(crate) struct HoldArguments {
    #[command(flatten)]
    pub(crate) circuit: CircuitArguments,
    /// For how long: up to 24h
    #[arg(long = "for", value_name = "DURATION", default_value = "10m")]
    pub(crate) time: String,
}

#[derive(Debug, Args)]
pub(crate) struct CircuitArguments {
    /// The upstream's name
    pub(crate) upstream: String,
    /// Only the circuit of this endpoint, as the list writes it
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// Why; it is logged
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast explain 4f1c6a0b9d2e47a8b3c5d6e7f8091a2b\n  steadfast explain 4f1c6a0b9d2e47a8b3c5d6e7f8091a2b --admin 127.0.0.1:9081    ask another node\n  steadfast explain req-17 -o json",
    after_help = "The id is in X-Request-Id of the answer, in the problem's instance, and in the access log. A node remembers the newest requests that it refused or that were slow (`[explain]` in the config); attempts of keyed ones are found in the ledger by any node.\n\nExit codes: 0 where something is known, 5 where nothing is, 6 where no gateway answers."
)]
pub(crate) struct ExplainArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// The request's id
    pub(crate) request_id: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast usage\n  steadfast usage v1 -o json",
    after_help = "It is what this node counted since it was started. Which requests belong to a version is said by `lifecycle` of the routes."
)]
pub(crate) struct UsageArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// Only this version
    pub(crate) version: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast bans add 203.0.113.0/24 --for 2h --reason 'it scrapes'\n  steadfast bans add principal:acme --reason 'ticket 4711' --challenge https://example.org/human\n  steadfast bans list\n  steadfast bans remove principal:acme --reason 'they called'"
)]
pub(crate) struct BansArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: BansCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BansCommand {
    /// Ban somebody, on every node and from now on
    Add(AddBanArguments),
    /// List who is banned, by what and until when
    List {
        /// Those that ended within a day too
        #[arg(long)]
        all: bool,
    },
    /// Let somebody in again
    Remove(RemoveBanArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AddBanArguments {
    /// Who: an address, a network such as 203.0.113.0/24, or principal:NAME
    pub(crate) subject: String,
    /// For how long: 30m, 2h, 7d; for ever unless stated
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) time: Option<String>,
    /// Where they can show that they are welcome; they are told
    #[arg(long, value_name = "URL")]
    pub(crate) challenge: Option<String>,
    /// Why; it is listed and logged, and they are not told
    #[arg(long)]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveBanArguments {
    /// Who, as they are listed
    pub(crate) subject: String,
    /// Why; it is logged
    #[arg(long)]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast credentials create acme --scope orders:write --attribute plan=pro --expires-in 90d\n  steadfast credentials list\n  steadfast credentials rotate 8z4k0q2m7r1c --overlap 24h\n  steadfast credentials revoke 8z4k0q2m7r1c --reason 'it was in a public repository'"
)]
pub(crate) struct CredentialsArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: CredentialsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialsCommand {
    /// Make a key; it is printed once, and nobody can show it again
    Create(CreateCredentialArguments),
    /// List the keys, without the keys themselves
    List {
        /// Only those of this principal
        #[arg(long)]
        principal: Option<String>,
        /// The expired and revoked ones too, for 90 days
        #[arg(long)]
        all: bool,
    },
    /// Make a key in place of another one; both are good for a while
    Rotate(RotateCredentialArguments),
    /// End a key at once
    Revoke(RevokeCredentialArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CreateCredentialArguments {
    /// Whose it is: their name, as limits, logs and the upstream get it
    pub(crate) principal: String,
    /// Which [authentication.NAME] takes it; needed where several take API keys
    #[arg(long, value_name = "NAME")]
    pub(crate) authenticator: Option<String>,
    /// What they may do with it; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// What is said of them, such as plan=pro or tenant=acme; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub(crate) attributes: Vec<String>,
    /// For how long it is good; for ever unless stated
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires_in: Option<String>,
    /// Why; it is logged
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct RotateCredentialArguments {
    /// The id of the old one
    pub(crate) id: String,
    /// For how long the old one goes on; 0s ends it at once
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub(crate) overlap: String,
    /// For how long the new one is good; as long as the old one was to be unless stated
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires_in: Option<String>,
    /// Why; it is logged
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeCredentialArguments {
    /// Its id: the 12 characters in the middle of the key
    pub(crate) id: String,
    /// Why; it is logged
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// Ready to serve, not only alive
    #[arg(long)]
    pub(crate) ready: bool,
}

/// What the demo runs with.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  steadfast demo\n  steadfast demo --for 20s --seed 7 -o json")]
pub(crate) struct DemoArguments {
    /// How long
    #[arg(long = "for", value_name = "DURATION", default_value = "30s")]
    pub(crate) duration: String,
    /// The seed of everything that is random; a new one unless stated, and printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Where to keep the ledger; an SQLite file in a temporary folder unless stated
    #[arg(long, env = "STEADFAST_LEDGER")]
    pub(crate) ledger: Option<String>,
    /// How to print the verdict
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  steadfast limits list\n  steadfast limits get acme\n  steadfast limits raise acme x3 --for 2h --reason 'their migration, ticket 4711'\n  steadfast limits reset 203.0.113.7 --limit per-address --reason 'shared office'"
)]
pub(crate) struct LimitsArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: LimitsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitsCommand {
    /// List the limits: what they allow, what they refused or would have refused, and whom most
    List,
    /// Show how the counts of one caller stand
    Get(LimitGetArguments),
    /// Forget what was counted of one caller
    Reset(LimitResetArguments),
    /// Allow one caller several times as much for a time; x1 ends it
    Raise(LimitRaiseArguments),
}

/// Whose counts.
#[derive(Debug, Args)]
pub(crate) struct LimitedArguments {
    /// A principal, an address: whatever the limit is per first
    pub(crate) principal: String,
    /// Only of this limit
    #[arg(long, value_name = "NAME")]
    pub(crate) limit: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LimitGetArguments {
    #[command(flatten)]
    pub(crate) whose: LimitedArguments,
    /// The plan that the principal is on, where plans have limits of their own
    #[arg(long)]
    pub(crate) plan: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LimitResetArguments {
    #[command(flatten)]
    pub(crate) whose: LimitedArguments,
    /// Why; it is logged
    #[arg(long)]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct LimitRaiseArguments {
    #[command(flatten)]
    pub(crate) whose: LimitedArguments,
    /// How many times as much: x3, x1.5
    #[arg(value_parser = factor)]
    pub(crate) factor: f64,
    /// For how long: 30m, 2h, 7d at most
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    pub(crate) time: String,
    /// Why; it is logged
    #[arg(long)]
    pub(crate) reason: String,
    /// Who you are
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

/// Reads `x3`, `×3` or `3`.
fn factor(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_start_matches(['x', 'X', '×']).trim_end_matches(['x', 'X', '×']);
    let factor = number.parse::<f64>().ok().filter(|factor| (0.01..=1_000.0).contains(factor));
    factor.ok_or_else(|| "write x3, say: a number from 0.01 to 1000".to_owned())
}
