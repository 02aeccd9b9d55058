//! Which route serves a request: the most specific, whatever the order in the config.
//!
//! Host goes before path, path before method, method before headers. A path is found as it was sent; one that the
//! upstream may take for another route's is refused.

mod host;
mod path;
mod reading;
mod rule;
mod tree;

use std::ops::ControlFlow;

use http::{HeaderMap, Method, Request, Uri};

pub use host::HostPattern;
pub use path::PathPattern;
pub use rule::{HeaderCondition, HeaderSays};

pub(crate) use path::{Segment, parameter_name};
pub(crate) use reading::{has_dot_segment, others as other_readings};
pub(crate) use rule::Rule;

use tree::{Leaf, Tree};

/// Which requests a route serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matching<'r> {
    /// Any host where there is none.
    pub(crate) hosts: &'r [HostPattern],
    pub(crate) path: &'r PathPattern,
    pub(crate) rule: Rule<'r>,
}

impl Matching<'_> {
    /// Whether both serve one request and neither is more specific.
    ///
    /// Hosts and paths are compared by the first difference between them, so two of them are as specific only where
    /// they are the same.
    pub(crate) fn clashes_with(&self, other: &Self) -> bool {
        let share_a_host = match (self.hosts, other.hosts) {
            ([], []) => true,
            (hosts, others) => hosts.iter().any(|host| others.contains(host)),
        };
        share_a_host && self.path.serves_the_same_as(other.path) && self.rule.clashes_with(&other.rule)
    }
}

/// What a route is found by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
    /// Whether the request is only announced, by a preflight: that names the headers it will have, without values.
    pub(crate) is_announced: bool,
}

impl<'r> Asked<'r> {
    pub(crate) fn by<B>(request: &'r Request<B>) -> Self {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        Self { method, uri, headers, is_announced: false }
    }
}

/// Why no route serves a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// There is none.
    Nothing,
    /// There are some, for these methods.
    OtherMethods(Vec<Method>),
    /// It could be meant for more than one place.
    Unclear(Unclear),
}

/// Why it is not clear what a request is meant for. The words are for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unclear {
    #[error("The path has a segment `.` or `..`, plain or percent-encoded.")]
    DotSegment,
    #[error("The path has a `\\`, which belongs percent-encoded.")]
    Backslash,
    #[error(
        "Decoded, with `//` taken for `/`, or without what follows a `;`, the path would be served differently."
    )]
    OtherRoute,
    #[error("The request has more than one Host, or one that is not a host's name.")]
    Host,
}

/// All routes.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// The routes of each host pattern, the most specific first.
    hosts: Vec<(HostPattern, Tree)>,
    /// The routes of any host.
    any_host: Tree,
    targets: Vec<T>,
}

impl<T> Table<T> {
    /// A table of these routes.
    pub(crate) fn new<'r>(routes: impl IntoIterator<Item = (Matching<'r>, T)>) -> Self {
        let mut table = Self { hosts: Vec::new(), any_host: Tree::default(), targets: Vec::new() };
        for (matching, target) in routes {
            let route = table.targets.len();
            table.targets.push(target);
            if matching.hosts.is_empty() {
                table.any_host.insert(matching.path, matching.rule, route);
            }
            for host in matching.hosts {
                table.tree_of(host).insert(matching.path, matching.rule, route);
            }
        }
        table.hosts.sort_by(|(one, _), (two, _)| one.rank().cmp(&two.rank()));
        table
    }

    fn tree_of(&mut self, host: &HostPattern) -> &mut Tree {
        let at = self.hosts.iter().position(|(known, _)| known == host).unwrap_or_else(|| {
            self.hosts.push((host.clone(), Tree::default()));
            self.hosts.len() - 1
        });
        &mut self.hosts[at].1
    }

    /// The route that serves this request.
    ///
    /// # Errors
    /// [`NoRoute`] says why none does.
    pub(crate) fn find(&self, asked: Asked<'_>) -> Result<&T, NoRoute> {
        let path = asked.uri.path();
        let is_plain = reading::is_plain(path);
        if !is_plain {
            refuse_always(path)?;
        }
        // Where no route names a host, nobody needs to know it.
        let host = match self.hosts.as_slice() {
            [] => "",
            _ => host::host_of(asked.uri, asked.headers).map_err(NoRoute::Unclear)?,
        };
        let Some(route) = self.most_specific(host, path, asked) else {
            return Err(self.other_methods(host, path, asked));
        };
        let is_the_same = |other: &String| self.most_specific(host, other, asked) == Some(route);
        if !is_plain && !other_readings(path).iter().all(is_the_same) {
            return Err(NoRoute::Unclear(Unclear::OtherRoute));
        }
        Ok(&self.targets[route])
    }

    /// Every route's target.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &T> {
        self.targets.iter()
    }

    fn most_specific(&self, host: &str, path: &str, asked: Asked<'_>) -> Option<usize> {
        let found = self.visit(host, path, |leaf| {
            let rule = leaf.rule();
            if rule.serves_method(asked.method) && rule.headers_hold(asked) {
                return ControlFlow::Break(leaf.route);
            }
            ControlFlow::Continue(())
        });
        found.break_value()
    }

    fn other_methods(&self, host: &str, path: &str, asked: Asked<'_>) -> NoRoute {
        let mut methods = Vec::new();
        let _ = self.visit::<()>(host, path, |leaf| {
            let rule = leaf.rule();
            if rule.headers_hold(asked) {
                methods.extend(rule.methods.iter().cloned());
            }
            ControlFlow::Continue(())
        });
        methods.sort_by(|one, two| one.as_str().cmp(two.as_str()));
        methods.dedup();
        if methods.is_empty() { NoRoute::Nothing } else { NoRoute::OtherMethods(methods) }
    }

    /// Shows `see` the routes whose host and path match, the most specific first, until it has seen enough.
    fn visit<'t, B>(
        &'t self,
        host: &str,
        path: &str,
        mut see: impl FnMut(&'t Leaf) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(rest) = path.strip_prefix('/') else { return ControlFlow::Continue(()) };
        for (pattern, tree) in &self.hosts {
            if pattern.serves(host) {
                tree.visit(Some(rest), &mut see)?;
            }
        }
        self.any_host.visit(Some(rest), &mut see)
    }
}

/// What no server should have to make sense of, whatever routes there are.
fn refuse_always(path: &str) -> Result<(), NoRoute> {
    if path.contains('\\') {
        return Err(NoRoute::Unclear(Unclear::Backslash));
    }
    if has_dot_segment(path) {
        return Err(NoRoute::Unclear(Unclear::DotSegment));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
