//! What a multipart body's fingerprint depends on, and what not.

use std::slice;

use proptest::{collection::vec, prelude::any, strategy::Strategy};
use steadfast_core::{Fingerprint, FingerprintBuilder, MultipartFingerprint};

use crate::seeded;

const CASES: u32 = 3_000;

/// One part: its header fields as they are sent, and its content.
type Part = (Vec<(String, String)>, Vec<u8>);

fn form(name: &str, more: &str, content: &[u8]) -> Part {
    let disposition = format!("form-data; name=\"{name}\"{more}");
    (vec![("Content-Disposition".into(), disposition)], content.to_vec())
}

fn written(boundary: &str, parts: &[Part]) -> Vec<u8> {
    let mut body = Vec::new();
    for (fields, content) in parts {
        body.extend(format!("--{boundary}\r\n").bytes());
        for (name, value) in fields {
            body.extend(format!("{name}: {value}\r\n").bytes());
        }
        body.extend(b"\r\n");
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    body
}

fn content_type(boundary: &str) -> String {
    format!("multipart/form-data; boundary={boundary}")
}

fn builder(content_type: &str, omit: &[&str]) -> MultipartFingerprint {
    let omit = omit.iter().map(|name| (*name).to_owned()).collect();
    MultipartFingerprint::new("POST", "/a", None, Some(content_type.as_bytes()), omit)
}

fn fingerprint(content_type: &str, body: &[u8], omit: &[&str]) -> Fingerprint {
    let mut builder = builder(content_type, omit);
    builder.body(body);
    builder.finish()
}

fn of(parts: &[Part]) -> Fingerprint {
    fingerprint(&content_type("one"), &written("one", parts), &[])
}

/// What it would be without any knowledge of multipart.
fn by_bytes(content_type: &str, body: &[u8]) -> Fingerprint {
    let mut builder = FingerprintBuilder::new("POST", "/a", None, Some(content_type.as_bytes()));
    builder.body(body);
    builder.finish()
}

/// Contents that are full of what looks like a boundary.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::sample::select(vec![
        &b"\r\n"[..],
        b"\r",
        b"\n",
        b"-",
        b"--",
        b"\r\n--",
        b"on",
        b"--on",
        b"\r\n--on",
        b"\r\n--t",
        b"\r\n\r\n",
        b":",
        b"x",
        b"\0\xff",
    ]);
    vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let name = proptest::sample::select(vec!["a", "b", "sent_at", "file", ""]);
    let more = proptest::sample::select(vec!["", "; filename=\"f\"", "; filename=\"g\""]);
    let extra = proptest::sample::select(vec![None, Some("text/plain"), Some("application/json")]);
    let part = (name, more, extra, content()).prop_map(|(name, more, extra, content)| {
        let mut part = form(name, more, &content);
        part.0.extend(extra.map(|kind| ("Content-Type".to_owned(), kind.to_owned())));
        part
    });
    vec(part, 1..4)
}

#[test]
fn where_a_multipart_body_is_cut_makes_no_difference() {
    let cuts = vec(any::<u16>(), 0..6);
    seeded::check(CASES, &(parts(), cuts), |(parts, cuts)| {
        let body = written("one", &parts);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) % (body.len() + 1)).collect();
        cuts.sort_unstable();
        let mut cut = builder(&content_type("one"), &[]);
        let mut from = 0;
        for to in cuts.into_iter().chain([body.len()]) {
            cut.body(&body[from..to]);
            from = to;
        }
        let mut byte_by_byte = builder(&content_type("one"), &[]);
        body.iter().for_each(|byte| byte_by_byte.body(&[*byte]));
        let whole = of(&parts);
        assert_eq!(cut.finish(), whole);
        assert_eq!(byte_by_byte.finish(), whole);
    });
}

#[test]
fn the_boundary_makes_no_difference() {
    seeded::check(CASES, &parts(), |parts| {
        let one = of(&parts);
        assert_ne!(one, by_bytes(&content_type("one"), &written("one", &parts)), "it was read as multipart");
        for boundary in ["two", "------WebKitFormBoundaryAaB03x", "a'()+_,-./:=?b"] {
            let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
            assert_eq!(fingerprint(&kind, &written(boundary, &parts), &[]), one, "{boundary}");
        }
    });
}

#[test]
fn any_two_different_lists_of_parts_differ() {
    seeded::check(CASES, &(parts(), parts()), |(one, other)| {
        let normal = |parts: &[Part]| -> Vec<Part> {
            parts
                .iter()
                .cloned()
                .map(|(mut fields, content)| {
                    fields.sort();
                    (fields, content)
                })
                .collect()
        };
        assert_eq!(of(&one) == of(&other), normal(&one) == normal(&other));
    });
}

#[test]
fn any_change_of_one_byte_within_a_part_makes_a_difference() {
    let change = (parts(), any::<u16>(), 1..=255_u8);
    seeded::check(CASES, &change, |(parts, at, by)| {
        let mut changed = parts.clone();
        let (_, content) = &mut changed[usize::from(at) % parts.len()];
        if content.is_empty() {
            content.push(by);
        } else {
            let place = usize::from(at) % content.len();
            content[place] ^= by;
        }
        assert_ne!(of(&changed), of(&parts));
    });
}

#[test]
fn every_piece_of_a_part_counts() {
    let base = [form("a", "; filename=\"f\"", b"content"), form("b", "", b"")];
    let swapped = [base[1].clone(), base[0].clone()];
    let mut typed = base.clone();
    typed[0].0.push(("Content-Type".into(), "text/plain".into()));
    let mut retyped = base.clone();
    retyped[0].0.push(("Content-Type".into(), "text/html".into()));
    let other: Vec<(&str, Vec<Part>)> = vec![
        ("a part's name", vec![form("c", "; filename=\"f\"", b"content"), base[1].clone()]),
        ("a file's name", vec![form("a", "; filename=\"g\"", b"content"), base[1].clone()]),
        ("a part's content", vec![form("a", "; filename=\"f\"", b"Content"), base[1].clone()]),
        ("a line at its end", vec![form("a", "; filename=\"f\"", b"content\r\n"), base[1].clone()]),
        ("the order of the parts", swapped.to_vec()),
        ("one part less", vec![base[0].clone()]),
        ("one part more", [base.to_vec(), vec![form("b", "", b"")]].concat()),
        ("a header field more", typed.to_vec()),
        ("another header field", retyped.to_vec()),
    ];
    let mut seen = vec![of(&base)];
    for (what, parts) in other {
        let fingerprint = of(&parts);
        assert!(!seen.contains(&fingerprint), "{what} makes no difference");
        seen.push(fingerprint);
    }
}

#[test]
fn how_a_parts_header_fields_are_written_makes_no_difference() {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let disposition = "form-data; name=\"a\"";
    let one = (vec![field("Content-Disposition", disposition), field("Content-Type", "a/b")], b"x".to_vec());
    let two =
        (vec![field("content-type", "  a/b\t"), field("CONTENT-disposition", disposition)], b"x".to_vec());
    assert_eq!(of(slice::from_ref(&one)), of(&[two]));
    // Fields of one name have an order.
    let twice = |values: [&str; 2]| (values.map(|value| field("X", value)).to_vec(), b"x".to_vec());
    assert_ne!(of(&[twice(["1", "2"])]), of(&[twice(["2", "1"])]));
    // White space within a value may mean something.
    let spaced =
        (vec![field("Content-Disposition", "form-data;  name=\"a\""), one.0[1].clone()], b"x".to_vec());
    assert_ne!(of(&[one]), of(&[spaced]));
}

#[test]
fn parts_are_left_out_by_name() {
    let omitting = |parts: &[Part]| fingerprint(&content_type("one"), &written("one", parts), &["sent_at"]);
    let order = form("order", "", b"1");
    let sent_at = |when: &[u8]| form("sent_at", "", when);
    let one = omitting(&[order.clone(), sent_at(b"10:00")]);
    assert_eq!(one, omitting(&[sent_at(b"10:01\r\n"), order.clone()]));
    assert_eq!(one, omitting(slice::from_ref(&order)));
    assert_eq!(one, of(slice::from_ref(&order)));
    assert_ne!(one, omitting(&[form("order", "", b"2"), sent_at(b"10:00")]));
    // What might be another part to somebody else is not left out.
    for odd in ["; name=\"order\"", "; name*=utf-8''order"] {
        let odd = form("sent_at", odd, b"10:00");
        assert_ne!(one, omitting(&[order.clone(), odd.clone()]), "{odd:?}");
    }
}

#[test]
fn what_is_not_clearly_multipart_counts_byte_by_byte() {
    let body = written("one", &[form("a", "", b"content")]);
    let text = |body: &str| body.as_bytes().to_vec();
    let long = "x".repeat(17 << 10);
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("no multipart", "application/octet-stream", body.clone()),
        ("no boundary", "multipart/form-data", body.clone()),
        ("two boundaries", "multipart/form-data; boundary=one; boundary=two", body.clone()),
        ("an odd boundary", "multipart/form-data; boundary=\"one\u{e9}\"", body.clone()),
        ("another boundary", "multipart/form-data; boundary=two", body.clone()),
        ("nothing", "multipart/form-data; boundary=one", Vec::new()),
        ("no end", "multipart/form-data; boundary=one", body[..body.len() - 4].to_vec()),
        ("bare line ends", "multipart/form-data; boundary=one", text("--one\nA: b\n\nx\n--one--\n")),
        (
            "a longer boundary",
            "multipart/form-data; boundary=one",
            text("--one\r\n\r\nx\r\n--one1\r\n\r\n--one--"),
        ),
        ("no colon", "multipart/form-data; boundary=one", text("--one\r\nA b\r\n\r\nx\r\n--one--")),
        (
            "a folded line",
            "multipart/form-data; boundary=one",
            text("--one\r\nA: b\r\n c: d\r\n\r\nx\r\n--one--"),
        ),
        (
            "a boundary among fields",
            "multipart/form-data; boundary=a:b",
            text("--a:b\r\nA: b\r\n--a:b\r\n\r\nx\r\n--a:b--"),
        ),
        (
            "endless fields",
            "multipart/form-data; boundary=one",
            format!("--one\r\nA: {long}\r\n\r\nx\r\n--one--").into_bytes(),
        ),
    ];
    for (what, kind, body) in cases {
        assert_eq!(fingerprint(kind, &body, &[]), by_bytes(kind, &body), "{what}");
    }
}

#[test]
fn what_stands_around_the_parts_counts() {
    let body = written("one", &[form("a", "", b"content")]);
    let kind = content_type("one");
    let base = fingerprint(&kind, &body, &[]);
    let before = [b"preamble\r\n", body.as_slice()].concat();
    let behind = [body.as_slice(), b"epilogue"].concat();
    for around in [before, behind] {
        let fingerprint = fingerprint(&kind, &around, &[]);
        assert_ne!(fingerprint, base);
        assert_ne!(fingerprint, by_bytes(&kind, &around), "it is multipart all the same");
    }
    // And so does the rest of the Content-Type, and the request's head.
    let related = "multipart/related; boundary=one";
    assert_ne!(fingerprint(related, &body, &[]), base);
    let mut elsewhere = MultipartFingerprint::new("POST", "/b", None, Some(kind.as_bytes()), Vec::new());
    elsewhere.body(&body);
    assert_ne!(elsewhere.finish(), base);
}

#[test]
fn any_bytes_have_one_multipart_fingerprint_wherever_they_are_cut() {
    let soup = vec(
        proptest::sample::select(vec![
            &b"--one"[..],
            b"\r\n",
            b"--",
            b"A: b",
            b"\r\n\r\n",
            b"\n",
            b" ",
            b"-",
            b"\r",
            b"one",
            b"\0",
        ]),
        0..30,
    );
    seeded::check(CASES, &(soup, any::<u16>()), |(soup, cut)| {
        let body = soup.concat();
        let (head, tail) = body.split_at(usize::from(cut) % (body.len() + 1));
        let mut in_two = builder(&content_type("one"), &["x"]);
        in_two.body(head);
        in_two.body(tail);
        let mut byte_by_byte = builder(&content_type("one"), &["x"]);
        body.iter().for_each(|byte| byte_by_byte.body(&[*byte]));
        let whole = fingerprint(&content_type("one"), &body, &["x"]);
        assert_eq!(in_two.finish(), whole);
        assert_eq!(byte_by_byte.finish(), whole);
    });
}
