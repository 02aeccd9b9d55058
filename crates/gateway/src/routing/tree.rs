//! The routes of one host, by the segments of their paths.
//!
//! The way down decides what is most specific: at each segment from the left, the very text goes before a parameter,
//! and that before everything below. A node is looked at once at most, and nothing is allocated.

use std::ops::ControlFlow;

use http::Method;

use super::{HeaderCondition, PathPattern, Rule, path::Segment};

#[derive(Debug, Default)]
pub(super) struct Tree {
    /// By their texts, in order.
    literals: Vec<(Box<str>, Tree)>,
    parameter: Option<Box<Tree>>,
    /// What serves a path that ends here.
    exact: Vec<Leaf>,
    /// What serves a path that goes on.
    below: Vec<Leaf>,
}

/// One route, where its path ends. Those of one node stand in the order of their ranks.
#[derive(Debug)]
pub(super) struct Leaf {
    methods: Vec<Method>,
    headers: Vec<HeaderCondition>,
    /// Its place among the routes of the table.
    pub(super) route: usize,
}

impl Leaf {
    pub(super) fn rule(&self) -> Rule<'_> {
        Rule { methods: &self.methods, headers: &self.headers }
    }
}

impl Tree {
    pub(super) fn insert(&mut self, path: &PathPattern, rule: Rule<'_>, route: usize) {
        let mut node = self;
        for segment in path.segments() {
            node = match segment {
                Segment::Parameter => node.parameter.get_or_insert_default(),
                Segment::Literal(text) => {
                    let at = node.literals.binary_search_by(|(known, _)| (**known).cmp(text));
                    let at = at.unwrap_or_else(|at| {
                        node.literals.insert(at, (text.into(), Self::default()));
                        at
                    });
                    &mut node.literals[at].1
                }
            };
        }
        let leaves = if path.is_prefix() { &mut node.below } else { &mut node.exact };
        leaves.push(Leaf { methods: rule.methods.to_vec(), headers: rule.headers.to_vec(), route });
        leaves.sort_by(|one, two| one.rule().rank().cmp(&two.rule().rank()));
    }

    /// Shows `see` the routes whose paths match, the most specific first, until it has seen enough. `rest` is the
    /// path after the slash that leads here; nothing where it has ended.
    pub(super) fn visit<'t, B>(
        &'t self,
        rest: Option<&str>,
        see: &mut impl FnMut(&'t Leaf) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(rest) = rest else { return self.exact.iter().try_for_each(see) };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let Ok(at) = self.literals.binary_search_by(|(text, _)| (**text).cmp(segment)) {
            self.literals[at].1.visit(after, see)?;
        }
        if let Some(parameter) = self.parameter.as_ref().filter(|_| !segment.is_empty()) {
            parameter.visit(after, see)?;
        }
        self.below.iter().try_for_each(see)
    }
}
