//! What a route asks of a request beside host and path: its method and its headers.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::Asked;

/// What a route asks of one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition {
    /// The header.
    pub name: HeaderName,
    /// What it must say.
    pub says: HeaderSays,
}

/// What a header must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSays {
    /// Anything: it has to be there.
    Anything,
    /// Exactly this, once.
    This(HeaderValue),
}

impl HeaderCondition {
    fn holds(&self, headers: &HeaderMap) -> bool {
        match &self.says {
            HeaderSays::Anything => headers.contains_key(&self.name),
            HeaderSays::This(wanted) => {
                let mut values = headers.get_all(&self.name).iter();
                values.next() == Some(wanted) && values.next().is_none()
            }
        }
    }

    /// Whether no request fulfils both.
    fn excludes(&self, other: &Self) -> bool {
        match (&self.says, &other.says) {
            (HeaderSays::This(one), HeaderSays::This(two)) => self.name == other.name && one != two,
            (HeaderSays::Anything, _) | (_, HeaderSays::Anything) => false,
        }
    }
}

/// Whether a preflight with these headers announces a request with the header `name`.
fn announces(headers: &HeaderMap, name: &HeaderName) -> bool {
    let lists = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    lists
        .filter_map(|list| list.to_str().ok())
        .any(|list| list.split(',').any(|announced| announced.trim().eq_ignore_ascii_case(name.as_str())))
}

/// Methods and headers of one route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'r> {
    /// All of them where it names none.
    pub(crate) methods: &'r [Method],
    /// All of these must hold.
    pub(crate) headers: &'r [HeaderCondition],
}

impl Rule<'_> {
    pub(super) fn serves_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// What is announced may hold, as far as anybody can know.
    pub(super) fn headers_hold(&self, asked: Asked<'_>) -> bool {
        self.headers.iter().all(|condition| {
            condition.holds(asked.headers) || asked.is_announced && announces(asked.headers, &condition.name)
        })
    }

    /// What it is sorted by, the most specific first: one that names methods before one that does not, more
    /// conditions before fewer, and of as many, more that ask for a value.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let values = self.headers.iter().filter(|condition| condition.says != HeaderSays::Anything).count();
        (self.methods.is_empty(), Reverse(self.headers.len()), Reverse(values))
    }

    /// Whether both serve one request and neither is more specific.
    pub(crate) fn clashes_with(&self, other: &Self) -> bool {
        let share_a_method = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let mut pairs = self.headers.iter().flat_map(|one| other.headers.iter().map(move |two| (one, two)));
        share_a_method && self.rank().cmp(&other.rank()).is_eq() && !pairs.any(|(one, two)| one.excludes(two))
    }
}
