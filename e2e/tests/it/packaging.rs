//! What is in `packaging/` runs what the command line has: the image as its Dockerfile says, the units as systemd reads
//! them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use e2e::{Port, Process, await_that, program};
use tempfile::TempDir;

use crate::serve::PATIENCE;

/// Where the packages put the binary.
const BINARY: &str = "/usr/bin/steadfast";
/// Where they expect the config.
const CONFIG: &str = "/etc/steadfast/steadfast.toml";

fn packaging(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(program: &Path, arguments: &[&str], variables: &BTreeMap<String, String>) -> Output {
    Command::new(program).args(arguments).envs(variables).output().expect("it runs")
}

/// Fails where the binary does not take these arguments: those that it does not know are told of before `--help` is
/// come to.
fn takes(arguments: &[&str]) {
    let help = run(&program("steadfast"), &[arguments, &["--help"]].concat(), &BTreeMap::new());
    assert!(help.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&help.stderr));
}

#[test]
fn an_argument_that_the_command_line_does_not_have_is_found() {
    takes(&["serve", "--config", CONFIG]);
    assert!(std::panic::catch_unwind(|| takes(&["serve", "--confg", CONFIG])).is_err());
}

/// The lines `KEY=VALUE` of a unit, in order.
fn settings(unit: &str) -> Vec<(String, String)> {
    let lines = unit.lines().filter(|line| !line.starts_with(['#', '[']));
    lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

fn setting(unit: &str, key: &str) -> String {
    let found: Vec<_> = settings(unit).into_iter().filter(|(own, _)| own == key).collect();
    let [(_, value)] = found.as_slice() else { panic!("{key} is there {} times", found.len()) };
    value.clone()
}

fn seconds(time: &str) -> u64 {
    time.strip_suffix('s').and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("{time} in seconds"))
}

/// The major version of systemd.
fn systemd_version() -> u32 {
    let version = run(Path::new("systemd-analyze"), &["--version"], &BTreeMap::new());
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    text.split_whitespace()
        .nth(1)
        .and_then(|version| version.parse().ok())
        .expect("systemd-analyze --version")
}

#[test]
fn systemd_accepts_the_units_and_they_start_what_the_command_line_has() {
    let folder = TempDir::new().unwrap();
    let (service, socket) = (packaging("systemd/steadfast.service"), packaging("systemd/steadfast.socket"));
    let command = setting(&service, "ExecStart");
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words[0], BINARY);
    takes(&words[1..]);
    assert_eq!(setting(&service, "Type"), "notify-reload");
    assert_eq!(setting(&socket, "FileDescriptorName"), "proxy", "by this name the gateway knows it");

    // As it would stand on this machine. What its systemd is too old for is what the unit says to write instead.
    let binary = program("steadfast");
    let mut service =
        service.replace(&format!("ExecStart={BINARY}"), &format!("ExecStart={}", binary.display()));
    if systemd_version() < 253 {
        let older = "Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n";
        assert!(
            service
                .contains("An older one takes Type=notify and ExecReload=/bin/kill -HUP $MAINPID instead.")
        );
        service = service.replace("Type=notify-reload\n", older);
    }
    let [service_file, socket_file] =
        ["steadfast.service", "steadfast.socket"].map(|name| folder.path().join(name).display().to_string());
    fs::write(&service_file, &service).unwrap();
    fs::write(&socket_file, socket).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = run(Path::new("systemd-analyze"), arguments, &BTreeMap::new());
        (output.status.success(), [output.stdout, output.stderr].concat())
    };
    let (accepted, said) = analyze(&["verify", "--man=no", &service_file, &socket_file]);
    let said = String::from_utf8_lossy(&said).into_owned();
    // What is said of other units of the machine is none of ours.
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("steadfast")).collect();
    assert!(accepted && of_ours.is_empty(), "{said}");
    // On systemd's scale from 0 to 10, in tenths: 2 is well within "OK".
    let (hardened, said) = analyze(&["security", "--offline=true", "--threshold=20", &service_file]);
    assert!(hardened, "{}", String::from_utf8_lossy(&said));
    // Neither of these checks is blind.
    fs::write(&service_file, service.replace("ProtectSystem=strict", "ProtectSystm=strict\nNoSuchThing=1"))
        .unwrap();
    let (_, said) = analyze(&["verify", "--man=no", &service_file]);
    assert!(String::from_utf8_lossy(&said).contains("NoSuchThing"), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_service_gives_the_gateway_time_to_drain_and_does_not_restart_what_cannot_work() {
    let service = packaging("systemd/steadfast.service");
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("steadfast.toml");
    fs::write(&config, "").unwrap();
    let shown = run(
        &program("steadfast"),
        &["config", "show", "--effective", "--config", &config.to_string_lossy()],
        &BTreeMap::new(),
    );
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let drain = shown.lines().find_map(|line| line.strip_prefix("drain_timeout = ")).expect("its default");
    assert!(seconds(&setting(&service, "TimeoutStopSec")) > seconds(drain.trim_matches('"')));

    let never = setting(&service, "RestartPreventExitStatus");
    fs::write(&config, "lissten = 1").unwrap();
    for wrong in [vec!["serve", "--no-such-flag"], vec!["serve", "--config", config.to_str().unwrap()]] {
        let ended = run(&program("steadfast"), &wrong, &BTreeMap::new()).status.code().expect("a code");
        assert!(never.split(' ').any(|code| code == ended.to_string()), "{wrong:?} ends with {ended}");
    }
}

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = packaging("docker/Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line}")))
        .map(|(instruction, rest)| {
            (instruction.into(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// The arguments of the last stage's only instruction of this name.
fn instruction(name: &str) -> String {
    let all = instructions();
    let stage = all.iter().rposition(|(name, _)| name == "FROM").expect("a stage");
    let found: Vec<_> = all[stage..].iter().filter(|(own, _)| own == name).collect();
    let [(_, rest)] = found.as_slice() else { panic!("{name} is there {} times", found.len()) };
    rest.clone()
}

fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[tokio::test]
async fn the_image_serves_as_its_dockerfile_says_and_its_health_check_knows_whether_it_does() {
    let command = [words(&instruction("ENTRYPOINT")), words(&instruction("CMD"))].concat();
    assert_eq!(command[0], BINARY);
    takes(&command[1..].iter().map(String::as_str).collect::<Vec<_>>());
    let (options, check) = instruction("HEALTHCHECK")
        .split_once("CMD ")
        .map(|(options, check)| (options.to_owned(), words(check)))
        .expect("a command");
    assert!(options.contains("--start-period="), "{options}");
    assert_eq!(check[0], BINARY);
    assert_eq!(instruction("STOPSIGNAL"), "SIGTERM");
    let user = instruction("USER");
    let (user, group) = user.split_once(':').expect("a user and a group");
    assert!(
        [user, group].iter().all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
        "numbers, and not root's"
    );

    // As in a container, but on ports and in folders of this test's own.
    let folder = TempDir::new().unwrap();
    let (listen, admin) = (Port::reserve(), Port::reserve());
    let config = folder.path().join("steadfast.toml");
    let ledger = folder.path().join("ledger.db");
    fs::write(
        &config,
        format!(
            "listen = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:1\"\nledger = \"sqlite:{}\"",
            ledger.display()
        ),
    )
    .unwrap();
    let mut variables: BTreeMap<String, String> = instruction("ENV")
        .split(' ')
        .map(|pair| pair.split_once('=').expect("NAME=value"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, port) in [("STEADFAST_LISTEN", &listen), ("STEADFAST_ADMIN", &admin)] {
        let given = variables.insert(name.into(), port.addr().to_string());
        given.unwrap_or_else(|| panic!("the image sets {name}")).parse::<std::net::SocketAddr>().unwrap();
    }
    let is_healthy = || {
        run(&program("steadfast"), &check[1..].iter().map(String::as_str).collect::<Vec<_>>(), &variables)
            .status
            .success()
    };
    assert!(!is_healthy(), "nothing runs yet");
    let environment: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let arguments = command[1..].iter().map(|word| word.replace(CONFIG, &config.to_string_lossy()));
    let mut process = Process::start(folder.path(), "image", &program("steadfast"), arguments, &environment);
    await_that("the container is healthy", PATIENCE, async || {
        assert!(process.ended().is_none(), "{}", process.errors());
        is_healthy().then_some(())
    })
    .await;
    for name in variables.keys() {
        assert!(!process.errors().contains(&format!("{name}: it overrides nothing")), "{}", process.errors());
    }
    // The config is watched, as the image says.
    fs::write(&config, "lissten = 1").unwrap();
    await_that("the config is looked at", PATIENCE, async || {
        process.errors().contains("lissten").then_some(())
    })
    .await;
    process.kill();
    assert!(!is_healthy());
}

#[test]
fn the_image_is_built_from_what_is_there() {
    let workspace = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml")).unwrap();
    let build = instructions()
        .into_iter()
        .find_map(|(name, rest)| rest.starts_with("cargo build").then_some((name, rest)));
    let (_, build) = build.expect("a build");
    let words: Vec<_> = build.split(' ').take_while(|word| *word != "&&").collect();
    let after = |flag| words.iter().skip_while(|word| **word != flag).nth(1).copied().expect(flag);
    assert!(workspace.contains(&format!("[profile.{}]", after("--profile"))), "{build}");
    let built = PathBuf::from("/build/target").join(after("--profile")).join(after("--package"));
    let copied = instructions()
        .into_iter()
        .any(|(name, rest)| name == "COPY" && rest == format!("--from=build {} {BINARY}", built.display()));
    assert!(copied, "{} is what goes into the image", built.display());
    assert!(words.contains(&"--locked"));
}
