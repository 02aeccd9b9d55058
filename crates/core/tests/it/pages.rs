//! Every refusal has a page that says what happened, and whose example is what callers really get.

use std::{collections::BTreeSet, fs, str::FromStr};

use serde_json::Value;
use steadfast_core::{Code, HELP_BASE, OperationId};

use crate::golden::docs;

fn page(code: Code) -> String {
    let path = docs().join(format!("problems/{}.md", code.as_str()));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The example of a page: its status line, header fields and body.
struct Example {
    status_line: String,
    fields: Vec<(String, String)>,
    body: Value,
}

impl Example {
    fn of(code: Code) -> Self {
        let page = page(code);
        let (_, rest) = page.split_once("```http\n").expect("an example");
        let (example, _) = rest.split_once("```").expect("the example ends");
        let (head, body) = example.split_once("\n\n").expect("the example has a head and a body");
        let mut lines = head.lines();
        let status_line = lines.next().expect("a status line").to_owned();
        let fields = lines
            .map(|line| line.split_once(": ").expect("a header field"))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self { status_line, fields, body: serde_json::from_str(body).expect("the example's body is JSON") }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.body.get(member).and_then(Value::as_str)
    }
}

#[test]
fn each_code_has_a_page_and_each_page_a_code() {
    let pages: BTreeSet<String> = fs::read_dir(docs().join("problems"))
        .expect("the folder of pages")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{}.md", code.as_str())).collect();
    assert_eq!(pages, codes);
}

#[test]
fn each_page_begins_with_its_title_and_names_code_and_status() {
    for &code in Code::ALL {
        let page = page(code);
        assert_eq!(page.lines().next(), Some(format!("# {}", code.title()).as_str()), "{code:?}");
        assert!(page.contains(&format!("`{}` · status {}", code.as_str(), code.status())), "{code:?}");
    }
}

#[test]
fn each_page_answers_the_same_questions() {
    for &code in Code::ALL {
        let page = page(code);
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let expected = [
            "What happened",
            "Was anything executed?",
            "What to do next",
            "The response",
            "For the operator",
        ];
        assert_eq!(headings, expected, "{code:?}");
    }
}

#[test]
fn each_example_is_the_problem_that_the_code_describes() {
    for &code in Code::ALL {
        let example = Example::of(code);
        assert!(example.status_line.starts_with(&format!("HTTP/1.1 {} ", code.status())), "{code:?}");
        assert_eq!(example.body["status"], code.status(), "{code:?}");
        let help = format!("{HELP_BASE}{}", code.as_str());
        // A type that everybody knows goes before our own, whose page is then named beside it.
        match code.registered_type() {
            None => assert_eq!(example.text("type"), Some(&*help), "{code:?}"),
            Some(registered) => {
                assert_eq!((example.text("type"), example.text("help")), (Some(registered), Some(&*help)));
            }
        }
        assert_eq!(example.text("title"), Some(code.title()), "{code:?}");
        assert_eq!(example.text("code"), Some(code.as_str()), "{code:?}");
        assert_eq!(example.text("next_step"), Some(code.next_step()), "{code:?}");
        assert!(example.text("detail").is_some_and(|detail| detail.ends_with('.')), "{code:?}");
        assert!(example.text("instance").is_some(), "{code:?}");
        assert_eq!(example.field("content-type"), Some("application/problem+json"), "{code:?}");
    }
}

#[test]
fn each_example_carries_the_retry_hints_that_clients_obey() {
    for &code in Code::ALL {
        let example = Example::of(code);
        for name in ["stripe-should-retry", "x-should-retry"] {
            assert_eq!(example.field(name), Some(code.resend().as_str()), "{code:?}");
        }
        let seconds = example.body.get("retry_after").map(|seconds| seconds.as_u64().expect("whole seconds"));
        assert_eq!(
            example.field("retry-after").map(|value| value.parse().expect("seconds")),
            seconds,
            "{code:?}"
        );
        if code.status() == 503 {
            assert!(seconds.is_some(), "{code:?}");
        }
    }
}

#[test]
fn each_example_has_only_known_members_and_links_to_a_well_formed_operation() {
    const MEMBERS: [&str; 15] = [
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "retry_after",
        "next_step",
        "operation",
        "help",
        "policy",
        "limit",
        "remaining",
        "violated-policies",
        "until",
    ];
    for &code in Code::ALL {
        let example = Example::of(code);
        for member in example.body.as_object().expect("an object").keys() {
            assert!(MEMBERS.contains(&member.as_str()), "{code:?} {member}");
        }
        if let Some(link) = example.text("operation") {
            let id = link.strip_prefix("/.steadfast/operations/").expect("the operation's link");
            assert!(OperationId::from_str(id).is_ok(), "{code:?} {id}");
        }
    }
}
