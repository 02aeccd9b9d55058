//! Checks what a config says of which requests a route serves: its hosts, path and headers.

use std::{collections::BTreeMap, net::Ipv6Addr};

use http::{HeaderName, HeaderValue, Method, header};

use super::{
    super::{
        HeaderCondition, HeaderSays, HostPattern, PathPattern, Route,
        raw::{At, RawHeaderCondition},
    },
    Checker, Finding,
};
use crate::routing::{Segment, has_dot_segment, other_readings, parameter_name};

/// The longest name that a host can have (RFC 1035, section 2.3.4).
const HOST_CHARS_MAX: usize = 253;

impl Checker<'_> {
    pub(super) fn hosts(&mut self, raw: Option<&At<Vec<At<String>>>>) -> Vec<HostPattern> {
        let Some(list) = raw else { return Vec::new() };
        if list.get().is_empty() {
            let next = "name some, or remove `hosts` for any of them";
            self.error(&list.span(), "`hosts` is empty: the route would serve nothing".into(), next.into());
        }
        let mut hosts = Vec::new();
        for text in list.get() {
            match self.take(&text.span(), parse_host(text.get())) {
                Some(host) if hosts.contains(&host) => {
                    self.error(&text.span(), format!("`{host}` is there twice"), "remove one of them".into());
                }
                Some(host) => hosts.push(host),
                None => {}
            }
        }
        hosts
    }

    pub(super) fn headers(
        &mut self,
        raw: Option<&At<BTreeMap<String, At<RawHeaderCondition>>>>,
    ) -> Vec<HeaderCondition> {
        let mut conditions: Vec<HeaderCondition> = Vec::new();
        for (name, says) in raw.iter().flat_map(|raw| raw.get()) {
            match self.take(&says.span(), parse_condition(name, says.get())) {
                Some(condition) if conditions.iter().any(|other| other.name == condition.name) => {
                    let what = format!("`{}` is there twice, in different case", condition.name);
                    self.error(&says.span(), what, "remove one of them".into());
                }
                Some(condition) => conditions.push(condition),
                None => {}
            }
        }
        conditions
    }
}

fn parse_host(text: &str) -> Finding<HostPattern> {
    let shown = text.escape_debug();
    let wrong = |what: &str, next: &str| Err((format!("the host `{shown}` {what}"), next.to_owned()));
    let name = text.to_ascii_lowercase();
    if text.contains('/') {
        return wrong("has a scheme or a path", "write the name alone: api.example.com");
    }
    if text == "*" {
        return wrong("is every host", "remove `hosts` to serve any of them");
    }
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(HostPattern::Exact(name.into())),
            Err(_) => wrong("is not an IPv6 address", "write one such as [::1]"),
        };
    }
    if text.contains(':') {
        return wrong("has a port, or is an address without brackets", "leave out the port: any is served");
    }
    if !text.is_ascii() {
        return wrong("is not ASCII", "write it in its ASCII form, which begins with xn--");
    }
    let (bare, is_wildcard) = name.strip_prefix("*.").map_or((&*name, false), |bare| (bare, true));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if bare.contains('*') {
        return wrong("has a `*` elsewhere than as its first label", "write *.example.com for all below it");
    }
    if bare.len() > HOST_CHARS_MAX || !bare.split('.').all(is_label) {
        return wrong("is not a host's name", "write one such as api.example.com or *.example.com");
    }
    Ok(if is_wildcard { HostPattern::Below(name[1..].into()) } else { HostPattern::Exact(name.into()) })
}

fn parse_condition(name: &str, says: &RawHeaderCondition) -> Finding<HeaderCondition> {
    let shown = name.escape_debug();
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        let what = format!("`headers`: `{shown}` is not the name of a header");
        return Err((what, "write one such as x-api-version".into()));
    };
    if name == header::HOST {
        let what = "`headers`: the host is not asked for as a header";
        return Err((what.into(), "name it in `hosts`".into()));
    }
    let says = match says {
        RawHeaderCondition::This(text) => match HeaderValue::from_str(text) {
            Ok(value) if text.trim_matches([' ', '\t']) == text && text.is_ascii() => HeaderSays::This(value),
            _ => {
                let what =
                    format!("`headers.{name}`: `{}` is not the value of a header", text.escape_debug());
                return Err((what, "write printable ASCII without spaces around it".into()));
            }
        },
        RawHeaderCondition::Anything(_) => HeaderSays::Anything,
    };
    Ok(HeaderCondition { name, says })
}

pub(super) fn parse_path(text: &str) -> Finding<PathPattern> {
    let shown = text.escape_debug();
    let wrong = |what: &str, next: &str| Err((format!("the path `{shown}` {what}"), next.to_owned()));
    if !text.starts_with('/') {
        return wrong("does not begin with `/`", "write /payments, /orders/{id}, /files/* or /*");
    }
    if text.len() > 1024 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("is not printable ASCII of 1,024 characters at most", "percent-encode what is not");
    }
    if text.contains(['?', '#']) {
        return wrong("has a query or a fragment", "leave out everything from there on");
    }
    if text == "/.steadfast" || text.starts_with("/.steadfast/") {
        return wrong("is the gateway's own", "choose another");
    }
    check_parameters(text)?;
    if text.contains('\\') || has_dot_segment(text) {
        return wrong("has a `.`, a `..` or a `\\`", "write it without: requests with one are refused");
    }
    let others = other_readings(text);
    if let Some(other) = others.iter().find(|other| other_readings(other).is_empty()).or(others.first()) {
        let next = format!("write what is meant, such as {other}");
        return wrong("can be read in another way, and requests for it would be refused", &next);
    }
    match (text.strip_suffix('*'), text.matches('*').count()) {
        (None, 0) => Ok(PathPattern::Exact(text.into())),
        (Some(prefix), 1) if prefix.ends_with('/') => Ok(PathPattern::Prefix(prefix.into())),
        _ => wrong(
            "has a `*` elsewhere than after its last `/`",
            "write /files/* for everything below /files/",
        ),
    }
}

/// Whether every brace of a path belongs to a parameter with a name of its own.
fn check_parameters(path: &str) -> Finding<()> {
    let shown = path.escape_debug();
    let mut names: Vec<&str> = Vec::new();
    for segment in path.split('/').filter(|segment| segment.contains(['{', '}'])) {
        let is_name = |name: &&str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let Some(name) = parameter_name(segment).filter(is_name) else {
            let what = format!("the path `{shown}`: `{segment}` is not a parameter");
            return Err((what, "a parameter is a whole segment: /orders/{id}/items".into()));
        };
        if names.contains(&name) {
            let what = format!("the path `{shown}` has two parameters `{name}`");
            return Err((what, "give one of them another name".into()));
        }
        names.push(name);
    }
    Ok(())
}

/// A request that both routes serve, in words. They were found to clash.
pub(super) fn served_by_both(route: &Route, other: &Route) -> String {
    let method = match (route.methods.as_slice(), other.methods.as_slice()) {
        ([], methods) | (methods, []) => methods.first(),
        (methods, others) => methods.iter().find(|method| others.contains(method)),
    };
    let host = route.hosts.iter().find(|host| other.hosts.contains(host));
    let host = host.map(|host| host.to_string().replace('*', "any")).unwrap_or_default();
    let mut path = String::new();
    for segment in route.path.segments() {
        path.push('/');
        path.push_str(match segment {
            Segment::Literal(text) => text,
            Segment::Parameter => "any",
        });
    }
    if route.path.is_prefix() {
        path.push_str("/any");
    }
    let mut names: Vec<&str> = Vec::new();
    for condition in route.headers.iter().chain(&other.headers) {
        if !names.contains(&condition.name.as_str()) {
            names.push(condition.name.as_str());
        }
    }
    let headers = if names.is_empty() { String::new() } else { format!(" with {}", names.join(" and ")) };
    format!("{} {host}{path}{headers}", method.unwrap_or(&Method::GET))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_path_or_everything_below_one() {
        assert_eq!(parse_path("/a/b"), Ok(PathPattern::Exact("/a/b".into())));
        assert_eq!(parse_path("/a/*"), Ok(PathPattern::Prefix("/a/".into())));
        assert_eq!(parse_path("/*"), Ok(PathPattern::Prefix("/".into())));
        assert_eq!(parse_path("/a/{id}/b"), Ok(PathPattern::Exact("/a/{id}/b".into())));
        assert_eq!(parse_path("/{a}/{_b1}/*"), Ok(PathPattern::Prefix("/{a}/{_b1}/".into())));
        assert_eq!(parse_path("/caf%C3%A9"), Ok(PathPattern::Exact("/caf%C3%A9".into())));
        for text in ["", "a", "*", "/a*", "/*/a", "/a/**", "/a?b", "/ö", "/a b", "/.steadfast/x"] {
            assert!(parse_path(text).is_err(), "{text}");
        }
        for text in
            ["/{}", "/{1}", "/{a-b}", "/x{id}", "/{id}x", "/{id", "/id}", "/{a}/{a}", "/{{a}}", "/{a*}"]
        {
            assert!(parse_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_that_no_request_could_have_is_refused() {
        for text in ["/a/../b", "/./a", "/a//b", "/a;b", "/a%2Fb", "/a\\b", "/%2e", "/%70ay", "/caf%c3%a9"] {
            assert!(parse_path(text).is_err(), "{text}");
        }
        let (_, next) = parse_path("/%70ay/*").expect_err("encoded for nothing");
        assert!(next.contains("/pay/*"), "{next}");
    }

    #[test]
    fn a_host_is_one_host_or_all_below_one() {
        assert_eq!(parse_host("API.example.com"), Ok(HostPattern::Exact("api.example.com".into())));
        assert_eq!(parse_host("*.Example.com"), Ok(HostPattern::Below(".example.com".into())));
        assert_eq!(parse_host("[::1]"), Ok(HostPattern::Exact("[::1]".into())));
        assert_eq!(parse_host("localhost"), Ok(HostPattern::Exact("localhost".into())));
        for text in [
            "", "*", "*.", "a.*.com", "*a.com", "**.com", "a..b", "a.", ".a", "a:80", "::1", "[::x]",
            "http://a", "a/b", "ö.de", "a b", "a,b",
        ] {
            assert!(parse_host(text).is_err(), "{text}");
        }
    }
}
