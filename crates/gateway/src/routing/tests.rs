use http::HeaderValue;

use super::*;

/// A route of a test: hosts, path, methods and headers as a config has them, `*` as a value for any.
#[derive(Clone, Debug)]
struct Written {
    hosts: Vec<HostPattern>,
    path: PathPattern,
    methods: Vec<Method>,
    headers: Vec<HeaderCondition>,
}

impl Written {
    fn path(text: &str) -> Self {
        let path = match text.strip_suffix('*') {
            Some(prefix) => PathPattern::Prefix(prefix.into()),
            None => PathPattern::Exact(text.into()),
        };
        Self { hosts: vec![], path, methods: vec![], headers: vec![] }
    }

    fn host(mut self, text: &str) -> Self {
        self.hosts.push(match text.strip_prefix('*') {
            Some(suffix) => HostPattern::Below(suffix.into()),
            None => HostPattern::Exact(text.into()),
        });
        self
    }

    fn method(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        let says = match value {
            "*" => HeaderSays::Anything,
            value => HeaderSays::This(HeaderValue::from_static(value)),
        };
        self.headers.push(HeaderCondition { name: http::HeaderName::from_static(name), says });
        self
    }

    fn matching(&self) -> Matching<'_> {
        let rule = Rule { methods: &self.methods, headers: &self.headers };
        Matching { hosts: &self.hosts, path: &self.path, rule }
    }
}

/// A table whose targets are the routes' places in the list.
fn table(routes: &[Written]) -> Table<usize> {
    Table::new(routes.iter().enumerate().map(|(number, route)| (route.matching(), number)))
}

fn request(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// Which of `routes` serves a request, whatever their order; a panic where that depends on it.
#[track_caller]
fn served(routes: &[Written], request: &Request<()>) -> Result<usize, NoRoute> {
    let found = table(routes).find(Asked::by(request)).copied();
    let reversed: Vec<Written> = routes.iter().rev().cloned().collect();
    let again = table(&reversed).find(Asked::by(request)).map(|number| routes.len() - 1 - number);
    assert_eq!(found, again, "the order of the routes counts");
    found
}

#[test]
fn the_very_text_of_a_segment_goes_before_a_parameter_and_that_before_all_below() {
    let routes = [
        "/*",
        "/orders/*",
        "/orders/{id}",
        "/orders/new",
        "/orders/{id}/items",
        "/orders/{id}/*",
        "/orders/new/{item}",
        "/{any}/7/items",
        "/orders/",
        "/",
    ];
    let written = routes.map(Written::path);
    for (path, expected) in [
        ("/orders/new", "/orders/new"),
        ("/orders/7", "/orders/{id}"),
        ("/orders/7/items", "/orders/{id}/items"),
        ("/orders/7/other", "/orders/{id}/*"),
        ("/orders/7/", "/orders/{id}/*"),
        // From the left: `new` is the very text, though the other route has two of them.
        ("/orders/new/items", "/orders/new/{item}"),
        ("/orders/new/items/1", "/orders/{id}/*"),
        ("/orders/", "/orders/"),
        ("/orders", "/*"),
        ("/x/7/items", "/{any}/7/items"),
        ("/x/7/items/", "/*"),
        ("/", "/"),
    ] {
        let found = served(&written, &request("GET", path, &[])).map(|number| routes[number]);
        assert_eq!(found, Ok(expected), "{path}");
    }
}

#[test]
fn a_parameter_is_one_segment_and_not_an_empty_one() {
    let routes = [Written::path("/a/{id}"), Written::path("/b/{id}/c")];
    for path in ["/a/", "/a", "/a/b/c", "/b/c", "/b/x/y/c"] {
        assert_eq!(served(&routes, &request("GET", path, &[])), Err(NoRoute::Nothing), "{path}");
    }
    assert_eq!(served(&routes, &request("GET", "/a/{id}", &[])), Ok(0));
    assert_eq!(served(&routes, &request("GET", "/a/b:c@d", &[])), Ok(0));
}

#[test]
fn host_goes_before_path_and_the_more_specific_host_first() {
    let routes = [
        Written::path("/pay"),
        Written::path("/*").host("*.example.com"),
        Written::path("/*").host("*.eu.example.com"),
        Written::path("/*").host("api.eu.example.com").host("api.example.com"),
        Written::path("/{x}").host("api.example.com"),
    ];
    for (host, path, expected) in [
        ("other.org", "/pay", Ok(0)),
        ("other.org", "/x", Err(NoRoute::Nothing)),
        ("example.com", "/pay", Ok(0)),
        ("a.example.com", "/pay", Ok(1)),
        ("a.b.example.com", "/pay", Ok(1)),
        ("A.EU.example.com:8443", "/pay", Ok(2)),
        ("api.eu.example.com", "/pay", Ok(3)),
        ("api.example.com", "/pay", Ok(4)),
        ("api.example.com", "/pay/x", Ok(3)),
    ] {
        assert_eq!(served(&routes, &request("GET", path, &[("host", host)])), expected, "{host} {path}");
        let absolute = request("GET", &format!("http://{host}{path}"), &[("host", "other.org")]);
        assert_eq!(served(&routes, &absolute), expected, "{host} {path} in absolute form");
    }
    assert_eq!(served(&routes, &request("GET", "/pay", &[])), Ok(0), "without a host");
}

#[test]
fn a_host_is_only_looked_at_where_a_route_names_one() {
    let odd = request("GET", "/a", &[("host", "me@a"), ("host", "b")]);
    assert_eq!(served(&[Written::path("/a")], &odd), Ok(0));
    let routes = [Written::path("/a"), Written::path("/b").host("b")];
    assert_eq!(served(&routes, &odd), Err(NoRoute::Unclear(Unclear::Host)));
}

#[test]
fn methods_go_before_none_and_more_headers_before_fewer() {
    let routes = [
        Written::path("/a"),
        Written::path("/a").method(Method::GET),
        Written::path("/a").method(Method::GET).header("x-v", "2"),
        Written::path("/a").method(Method::GET).header("x-v", "*"),
        Written::path("/a").method(Method::GET).header("x-v", "*").header("x-beta", "*"),
        Written::path("/a").header("x-v", "2").header("x-beta", "*"),
    ];
    for (method, headers, expected) in [
        ("POST", &[][..], 0),
        ("GET", &[], 1),
        ("GET", &[("x-beta", "")], 1),
        ("GET", &[("x-v", "2")], 2),
        ("GET", &[("x-v", "3")], 3),
        ("GET", &[("x-v", "2"), ("x-v", "2")], 3),
        ("GET", &[("x-v", "2"), ("x-beta", "")], 4),
        ("POST", &[("x-v", "2"), ("x-beta", "")], 5),
        ("POST", &[("x-v", "3"), ("x-beta", "")], 0),
    ] {
        assert_eq!(served(&routes, &request(method, "/a", headers)), Ok(expected), "{method} {headers:?}");
    }
}

#[test]
fn a_path_that_is_served_for_other_methods_says_which() {
    let routes = [
        Written::path("/a/{id}").method(Method::PUT).method(Method::GET),
        Written::path("/a/b").method(Method::GET),
        Written::path("/a/b").method(Method::PATCH).header("x-v", "2"),
        Written::path("/{x}/b").method(Method::HEAD).host("a"),
    ];
    let other = |methods: &[Method]| Err(NoRoute::OtherMethods(methods.to_vec()));
    for (target, headers, expected) in [
        ("/a/b", &[][..], other(&[Method::GET, Method::PUT])),
        ("/a/c", &[], other(&[Method::GET, Method::PUT])),
        ("/a/b", &[("x-v", "2")], other(&[Method::GET, Method::PATCH, Method::PUT])),
        ("http://a/a/b", &[], other(&[Method::GET, Method::HEAD, Method::PUT])),
        ("/c", &[], Err(NoRoute::Nothing)),
        ("/c/b", &[], Err(NoRoute::Nothing)),
    ] {
        assert_eq!(served(&routes, &request("DELETE", target, headers)), expected, "{target} {headers:?}");
    }
}

#[test]
fn a_path_that_could_be_another_routes_is_refused() {
    let routes = ["/*", "/pay", "/files/*", "/files/{name}/secret", "/caf%C3%A9", "/.well-known/*"];
    let written = routes.map(Written::path);
    for path in [
        "/%70ay",
        "/%70%61%79",
        "//pay",
        "///pay",
        "/pay;a=b",
        "/pay%3Ba",
        "/;/pay",
        "/files/a%2Fsecret",
        "/files/a%2fsecret",
        "/files/a//secret",
        "/files%2Fa",
        "/files;x/a",
        "/caf%c3%a9",
        "/files/%61%3Bb//secret",
    ] {
        let found = served(&written, &request("GET", path, &[]));
        assert_eq!(found, Err(NoRoute::Unclear(Unclear::OtherRoute)), "{path}");
    }
    for (path, expected) in [
        ("/files/a%2Fb", "/files/*"),
        ("/files//a", "/files/*"),
        ("/files/a;v=1", "/files/*"),
        ("/files/a%20b%3A", "/files/*"),
        ("/x%2Fy//z", "/*"),
        ("/x/%2Fpay", "/*"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/.well-known/a", "/.well-known/*"),
    ] {
        let found = served(&written, &request("GET", path, &[])).map(|number| routes[number]);
        assert_eq!(found, Ok(expected), "{path}");
    }
}

#[test]
fn an_encoded_slash_does_not_reach_what_no_route_serves() {
    let routes = [Written::path("/users/{id}")];
    assert_eq!(served(&routes, &request("GET", "/users/a%20b", &[])), Ok(0));
    let found = served(&routes, &request("GET", "/users/7%2Fadmin", &[]));
    assert_eq!(found, Err(NoRoute::Unclear(Unclear::OtherRoute)));
}

#[test]
fn dot_segments_and_backslashes_are_refused_whatever_the_routes() {
    let routes = [Written::path("/*")];
    for path in ["/a/../b", "/a/%2e%2E/b", "/.", "/a/..;x/b", "/a%2f..%2fb"] {
        let found = served(&routes, &request("GET", path, &[]));
        assert_eq!(found, Err(NoRoute::Unclear(Unclear::DotSegment)), "{path}");
    }
    let found = served(&routes, &request("GET", "/a\\b", &[]));
    assert_eq!(found, Err(NoRoute::Unclear(Unclear::Backslash)));
}

#[test]
fn what_has_no_path_is_served_by_no_route() {
    let routes = [Written::path("/*")];
    assert_eq!(served(&routes, &request("OPTIONS", "*", &[])), Err(NoRoute::Nothing));
    assert_eq!(served(&routes, &request("CONNECT", "a:443", &[])), Err(NoRoute::Nothing));
}

/// Of any two routes, either they clash or their order in the config does not count. All pairs of a set that has
/// every kind of difference, asked for everything that tells them apart.
#[test]
fn two_routes_either_clash_or_have_an_order() {
    let mut routes = Vec::new();
    for path in ["/a", "/{x}", "/{y}", "/*", "/{x}/b", "/a/{y}"] {
        for host in ["", "h.example", "*.example"] {
            for methods in [&[][..], &[Method::GET, Method::POST]] {
                for headers in [&[][..], &[("x-a", "1")], &[("x-a", "2")], &[("x-a", "*")], &[("x-b", "1")]] {
                    let mut route = Written::path(path);
                    if !host.is_empty() {
                        route = route.host(host);
                    }
                    route.methods = methods.to_vec();
                    route = headers.iter().fold(route, |route, (name, value)| route.header(name, value));
                    routes.push(route);
                }
            }
        }
    }
    let mut requests = Vec::new();
    for path in ["/a", "/b", "/a/b", "/c/b", "/a/c", "/"] {
        for host in ["h.example", "other"] {
            for method in ["GET", "PUT"] {
                for headers in
                    [&[][..], &[("x-a", "1")], &[("x-a", "2"), ("x-b", "1")], &[("x-a", "1"), ("x-b", "1")]]
                {
                    let mut all = vec![("host", host)];
                    all.extend(headers);
                    requests.push(request(method, path, &all));
                }
            }
        }
    }
    let (mut clashes, mut ordered) = (0, 0);
    for (number, one) in routes.iter().enumerate() {
        for two in &routes[..number] {
            let (there, back) = (table(&[one.clone(), two.clone()]), table(&[two.clone(), one.clone()]));
            let in_order = requests.iter().all(|request| {
                let found = back.find(Asked::by(request)).map(|number| 1 - number);
                there.find(Asked::by(request)).copied() == found
            });
            let clash = one.matching().clashes_with(&two.matching());
            assert_eq!(clash, two.matching().clashes_with(&one.matching()), "{one:?} {two:?}");
            assert_eq!(in_order, !clash, "{one:?} {two:?}");
            if clash { clashes += 1 } else { ordered += 1 }
        }
    }
    assert!(clashes > 100 && ordered > 10_000, "{clashes} {ordered}");
}
