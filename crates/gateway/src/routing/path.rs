//! Which paths a route serves.
//!
//! A pattern is compared with the path as it was sent, segment by segment; percent-encoding is not decoded.

use std::fmt;

/// Which paths a route serves. A segment of either kind that reads `{name}` is a parameter: it stands for exactly
/// one segment, which is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// This path and no other.
    Exact(Box<str>),
    /// Every path that begins with this, which ends with `/`; written `/prefix/*`. `/*` serves everything.
    Prefix(Box<str>),
}

/// One segment of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment<'p> {
    /// This text.
    Literal(&'p str),
    /// Any text that is not empty.
    Parameter,
}

impl PathPattern {
    /// The segments that a path must begin with.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let segments = match self {
            Self::Exact(path) => Some(path.strip_prefix('/').unwrap_or(path)),
            Self::Prefix(path) => path.strip_prefix('/').unwrap_or(path).strip_suffix('/'),
        };
        segments.into_iter().flat_map(|segments| segments.split('/')).map(|segment| {
            match parameter_name(segment) {
                Some(_) => Segment::Parameter,
                None => Segment::Literal(segment),
            }
        })
    }

    /// Whether it serves what lies below its segments, and not these alone.
    pub(crate) fn is_prefix(&self) -> bool {
        matches!(self, Self::Prefix(_))
    }

    /// Whether both serve the very same paths: parameters may have different names.
    pub(crate) fn serves_the_same_as(&self, other: &Self) -> bool {
        self.is_prefix() == other.is_prefix() && self.segments().eq(other.segments())
    }
}

/// The name of the parameter that `segment` is, if it is one.
pub(crate) fn parameter_name(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// As it is written in a config.
impl fmt::Display for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => formatter.write_str(path),
            Self::Prefix(path) => write!(formatter, "{path}*"),
        }
    }
}
