//! The cases of `http_desync_guardian`, read where cargo keeps that crate's source: a list of requests that servers
//! were found to read differently. They are YAML of one fixed form, so a few lines read them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A request, byte by byte, and how dangerous it is held to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// `Compliant`, `Acceptable`, `Ambiguous` or `Severe`.
    pub(crate) tier: String,
    /// The request's head with its empty line.
    pub(crate) head: Vec<u8>,
}

impl Case {
    /// Whether its head declares no body.
    pub(crate) fn is_bodiless(&self) -> bool {
        let text = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
        !text.contains("content-length") && !text.contains("transfer-encoding")
    }
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| parse(&std::fs::read_to_string(file).expect("a file"))).collect()
}

/// Where the crate's cases are.
fn folder() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // Only what was needed to build this is sure to be on the machine: not what another platform would need.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package =
        packages.iter().find(|package| package["name"] == "http_desync_guardian").expect("the crate");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    manifest.parent().expect("a folder").join("tests")
}

/// The platform that this runs on, as cargo names it.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc says its host").to_owned()
}

/// What a case is made of before it is a request.
#[derive(Default)]
struct Parts {
    name: String,
    uri: Vec<u8>,
    method: Vec<u8>,
    version: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    tier: String,
}

impl Parts {
    fn case(self) -> Case {
        let mut head = [self.method, b" ".to_vec(), self.uri].concat();
        if !self.version.is_empty() {
            head.push(b' ');
            head.extend(self.version);
        }
        head.extend(b"\r\n");
        for (name, value) in self.headers {
            head.extend([name, b":".to_vec(), value, b"\r\n".to_vec()].concat());
        }
        head.extend(b"\r\n");
        Case { name: self.name, tier: self.tier, head }
    }
}

fn parse(text: &str) -> Vec<Case> {
    let mut all: Vec<Parts> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("- name:") {
            let name = String::from_utf8_lossy(&scalar(name)).into_owned();
            all.push(Parts { name, ..Parts::default() });
            continue;
        }
        let Some(case) = all.last_mut() else { continue };
        if let Some(name) = line.strip_prefix("    - name:") {
            case.headers.push((scalar(name), Vec::new()));
        } else if let Some(value) = line.strip_prefix("      value:") {
            case.headers.last_mut().expect("a header").1 = scalar(value);
        } else if let Some(uri) = line.strip_prefix("  uri:") {
            case.uri = scalar(uri);
        } else if let Some(method) = line.strip_prefix("  method:") {
            case.method = scalar(method);
        } else if let Some(version) = line.strip_prefix("  version:") {
            case.version = scalar(version);
        } else if let Some(tier) = line.strip_prefix("    tier:") {
            case.tier = String::from_utf8_lossy(&scalar(tier)).into_owned();
        }
    }
    all.into_iter().map(Parts::case).collect()
}

/// A value in double quotes with escapes, in single quotes, or bare.
fn scalar(text: &str) -> Vec<u8> {
    let text = text.trim();
    if let Some(quoted) = text.strip_prefix('"') {
        return unescaped(quoted);
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        return quoted.trim_end_matches('\'').replace("''", "'").into_bytes();
    }
    // A comment may follow.
    text.split(" #").next().unwrap_or_default().trim_end().as_bytes().to_vec()
}

fn unescaped(quoted: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = quoted.chars();
    while let Some(char) = rest.next() {
        match char {
            '"' => break,
            '\\' => match rest.next() {
                Some('x') => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
                }
                Some('t') => bytes.push(b'\t'),
                Some('r') => bytes.push(b'\r'),
                Some('n') => bytes.push(b'\n'),
                Some('0') => bytes.push(0),
                Some(other) => bytes.extend(other.to_string().bytes()),
                None => break,
            },
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    bytes
}
