//! The document for people: one page of HTML, without scripts.

use std::fmt::Write as _;

use http::Method;
use steadfast_core::HELP_BASE;

use super::{OPENAPI_PATH, RouteContract, problems::problems, words};
use crate::config::{DocumentPolicy, HeaderSays};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;\
background:#fff}h2{margin-top:3rem;border-top:1px solid #ccc;padding-top:1rem}h2,h3,code{overflow-wrap:anywhere}\
code{background:#f2f2f2;padding:0 .2em}table{border-collapse:collapse;width:100%}th,td{text-align:left;\
vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #e4e4e4}.deprecated{color:#9a3b00}\
@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}code{background:#2a2a2a}a{color:#8ab4f8}\
.deprecated{color:#ffb077}}";

/// The page of these routes.
pub(super) fn page(policy: &DocumentPolicy, contracts: &[RouteContract<'_>]) -> String {
    let title = escaped(&policy.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n<p>Version {}. For programs: <a href=\"{OPENAPI_PATH}\">OpenAPI 3.1</a>.</p>\n",
        escaped(&policy.version)
    );
    for paragraph in policy.description.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let _ = writeln!(page, "<p>{}</p>", escaped(paragraph));
    }
    for contract in contracts {
        route(contract, &mut page);
    }
    if contracts.is_empty() {
        page.push_str("<p>There is nothing to be told of.</p>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn route(contract: &RouteContract<'_>, page: &mut String) {
    let path = escaped(&contract.route.path.to_string());
    let mark = if contract.is_deprecated() { " <span class=\"deprecated\">(deprecated)</span>" } else { "" };
    let _ = writeln!(page, "<h2><code>{path}</code>{mark}</h2>");
    if !contract.route.hosts.is_empty() {
        let hosts: Vec<String> = contract
            .route
            .hosts
            .iter()
            .map(|host| format!("<code>{}</code>", escaped(&host.to_string())))
            .collect();
        let _ = writeln!(page, "<p>On {}.</p>", hosts.join(", "));
    }
    for condition in &contract.route.headers {
        let says = match condition.says {
            HeaderSays::Anything => "",
            HeaderSays::This(_) => ", with a value that this is for",
        };
        let _ = writeln!(page, "<p>With the header <code>{}</code>{says}.</p>", condition.name);
    }
    // What is said of several methods alike is said once.
    let mut told: Vec<(Vec<&Method>, String)> = Vec::new();
    for method in contract.methods() {
        let text = of_method(contract, method);
        match told.iter_mut().find(|(_, known)| *known == text) {
            Some((methods, _)) => methods.push(method),
            None => told.push((vec![method], text)),
        }
    }
    for (methods, text) in told {
        let methods: Vec<&str> = methods.into_iter().map(Method::as_str).collect();
        let _ = writeln!(page, "<h3>{}</h3>\n{text}", methods.join(", "));
    }
}

fn of_method(contract: &RouteContract<'_>, method: &Method) -> String {
    let mut text = String::new();
    for paragraph in words::paragraphs(contract, method) {
        let _ = writeln!(text, "<p>{}</p>", marked_up(&paragraph));
    }
    text.push_str("<table>\n<tr><th>status</th><th>code</th><th>what to do</th></tr>\n");
    for (status, codes) in problems(contract, method) {
        for code in codes {
            let (name, title) = (code.as_str(), escaped(code.title()));
            let next = marked_up(code.next_step());
            let _ = writeln!(
                text,
                "<tr><td>{status}</td><td><a href=\"{HELP_BASE}{name}\">{name}</a></td><td>{title}. {next}</td></tr>"
            );
        }
    }
    text.push_str("</table>");
    text
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A paragraph with its code between backticks marked as such.
fn marked_up(text: &str) -> String {
    let mut marked = String::new();
    for (index, part) in text.split('`').enumerate() {
        match index % 2 {
            0 => marked.push_str(&escaped(part)),
            _ => {
                let _ = write!(marked, "<code>{}</code>", escaped(part));
            }
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_config_says_becomes_markup() {
        assert_eq!(
            marked_up("a <b> `x<y>` & \"c\" 'd'"),
            "a &lt;b&gt; <code>x&lt;y&gt;</code> &amp; &quot;c&quot; &#39;d&#39;"
        );
    }
}
