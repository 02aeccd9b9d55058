//! Which route serves a request: the most specific path wins, whatever the order in the config.

use http::Method;

use crate::config::PathPattern;

/// Routes in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct Table<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    path: PathPattern,
    methods: Vec<Method>,
    target: T,
}

impl<T> Table<T> {
    /// A table of these routes; a route that names no methods serves all.
    pub(crate) fn new(routes: impl IntoIterator<Item = (PathPattern, Vec<Method>, T)>) -> Self {
        let entries = routes.into_iter().map(|(path, methods, target)| Entry { path, methods, target });
        let mut entries: Vec<_> = entries.collect();
        // Exact before prefix, longer before shorter, routes with methods before those without.
        entries.sort_by_key(|entry| {
            let (prefix, length) = match &entry.path {
                PathPattern::Exact(path) => (false, path.len()),
                PathPattern::Prefix(path) => (true, path.len()),
            };
            (prefix, std::cmp::Reverse(length), entry.methods.is_empty())
        });
        Self { entries }
    }

    /// The route that serves this request, if any does.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<&T> {
        self.entries.iter().find(|entry| entry.serves(method, path)).map(|entry| &entry.target)
    }

    /// Every route's target.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.target)
    }
}

impl<T> Entry<T> {
    fn serves(&self, method: &Method, path: &str) -> bool {
        let path_matches = match &self.path {
            PathPattern::Exact(exact) => path == &**exact,
            PathPattern::Prefix(prefix) => path.starts_with(&**prefix),
        };
        path_matches && (self.methods.is_empty() || self.methods.contains(method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_route_wins_whatever_the_order() {
        let table = Table::new([
            (PathPattern::Prefix("/".into()), vec![], "all"),
            (PathPattern::Prefix("/api/".into()), vec![], "api"),
            (PathPattern::Exact("/api/pay".into()), vec![Method::POST], "pay"),
            (PathPattern::Exact("/api/pay".into()), vec![], "pay, any method"),
        ]);
        for (method, path, expected) in [
            (Method::POST, "/api/pay", "pay"),
            (Method::GET, "/api/pay", "pay, any method"),
            (Method::POST, "/api/pay/1", "api"),
            (Method::GET, "/api", "all"),
            (Method::GET, "/", "all"),
        ] {
            assert_eq!(table.find(&method, path), Some(&expected), "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_no_route_serves_finds_none() {
        let table = Table::new([(PathPattern::Exact("/a".into()), vec![Method::GET], ())]);
        assert_eq!(table.find(&Method::POST, "/a"), None);
        assert_eq!(table.find(&Method::GET, "/b"), None);
    }
}
