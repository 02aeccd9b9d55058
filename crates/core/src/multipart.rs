//! The fingerprint of a multipart body, in which the boundary does not count: clients make up a new one for every
//! retry.
//!
//! What counts is the rest of the Content-Type, each part in its order (its header fields by name, in whatever
//! order they came, and its content, byte by byte), and whatever stands before the first part and behind the last.
//! A body that is not multipart, or not so that it can only be read in one way (RFC 2046, section 5.1, with CRLF),
//! counts byte by byte, its Content-Type included, as it would without any of this.

use memchr::{memmem, memrchr};

use crate::{
    domain::Domain,
    fingerprint::{Fingerprint, FingerprintBuilder},
    parameters::{Parameterised, is_token},
};

static WHOLE: Domain = Domain::new("steadfast multipart fingerprint v1");
static PART: Domain = Domain::new("steadfast multipart part v1");
static AROUND: Domain = Domain::new("steadfast multipart preamble and epilogue v1");

/// The longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;
/// The most bytes of a part's header fields; a part with more makes its body count byte by byte.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// The most bytes between a boundary and the end of its line.
const PADDING_BYTES_MAX: usize = 128;

/// Builds the fingerprint of a body that may be multipart while it arrives, in bounded memory.
#[derive(Debug)]
pub struct MultipartFingerprint {
    /// What it is if the body turns out to be no multipart.
    bytes: FingerprintBuilder,
    /// `None` once it has.
    parts: Option<Parts>,
}

impl MultipartFingerprint {
    /// Begins with the request's head, as [`FingerprintBuilder::new`] does. Parts named like one of `omit` (the
    /// `name` of their Content-Disposition) do not count.
    #[must_use]
    pub fn new(
        method: &str,
        path: &str,
        query: Option<&str>,
        content_type: Option<&[u8]>,
        omit: Vec<String>,
    ) -> Self {
        let parts = content_type.and_then(boundary_and_rest).map(|(boundary, rest)| {
            let whole = FingerprintBuilder::in_domain(&WHOLE, method, path, query, Some(&rest));
            Parts::new(&boundary, whole, omit)
        });
        Self { bytes: FingerprintBuilder::new(method, path, query, content_type), parts }
    }

    /// Takes in the next bytes of the body. Where they are cut makes no difference.
    pub fn body(&mut self, bytes: &[u8]) {
        self.bytes.body(bytes);
        if self.parts.as_mut().is_some_and(|parts| parts.take_in(bytes).is_err()) {
            self.parts = None;
        }
    }

    /// The fingerprint of all that was taken in.
    #[must_use]
    pub fn finish(self) -> Fingerprint {
        self.parts.and_then(Parts::finish).unwrap_or_else(|| self.bytes.finish())
    }
}

/// The boundary that a Content-Type names, and the Content-Type without it; `None` where it is not multipart.
fn boundary_and_rest(content_type: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let parsed = Parameterised::parse(content_type)?;
    if !parsed.value.starts_with(b"multipart/") {
        return None;
    }
    let boundary = parsed.only(b"boundary")?;
    let is_boundary = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    let valid = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.iter().all(is_boundary)
        && boundary.last() != Some(&b' ');
    valid.then(|| (boundary.to_vec(), parsed.without(b"boundary")))
}

/// A header field of a part: its name in lower case, and its value without the white space round it.
type Field<'a> = (Vec<u8>, &'a [u8]);

/// The body is no multipart that can only be read in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Reads a multipart body as it comes.
#[derive(Debug)]
struct Parts {
    /// CRLF, two hyphens and the boundary.
    delimiter: Vec<u8>,
    whole: FingerprintBuilder,
    omit: Vec<String>,
    state: State,
}

/// Where in a body the reader is.
#[derive(Debug)]
enum State {
    /// In what stands before the first part, or in a part's content: everything up to the next delimiter.
    Before(Scan),
    /// Behind a boundary, in what is left of its line.
    Behind(Vec<u8>),
    /// In a part's header fields, with the empty line that ends them.
    Headers(Vec<u8>),
    /// Behind the last boundary.
    Epilogue(blake3::Hasher),
}

/// What is hashed up to the next delimiter.
#[derive(Debug)]
struct Scan {
    /// `None` for a part that does not count.
    hasher: Option<blake3::Hasher>,
    /// How many bytes of a delimiter came last; they are hashed once it is clear that they are none.
    matched: usize,
    /// How many of these were never there: a body's first delimiter needs no CRLF before it.
    imagined: usize,
}

impl Parts {
    fn new(boundary: &[u8], whole: FingerprintBuilder, omit: Vec<String>) -> Self {
        let delimiter = [b"\r\n--", boundary].concat();
        let scan = Scan { hasher: Some(AROUND.hasher()), matched: 2, imagined: 2 };
        Self { delimiter, whole, omit, state: State::Before(scan) }
    }

    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Before(scan) => match scan.up_to(&self.delimiter, bytes) {
                    None => return Ok(()),
                    Some(behind) => {
                        if let Some(hasher) = &scan.hasher {
                            self.whole.body(hasher.finalize().as_bytes());
                        }
                        self.state = State::Behind(Vec::new());
                        bytes = behind;
                    }
                },
                State::Behind(line) => {
                    line.push(bytes[0]);
                    bytes = &bytes[1..];
                    match line.as_slice() {
                        b"--" => self.state = State::Epilogue(AROUND.hasher()),
                        [padding @ .., b'\r', b'\n'] if is_padding(padding) => {
                            self.state = State::Headers(Vec::new());
                        }
                        b"-" => {}
                        [padding @ .., b'\r'] | padding if is_padding(padding) => {}
                        _ => return Err(Malformed),
                    }
                }
                State::Headers(block) => {
                    // Up to the end of a line, which may be the one that ends them.
                    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
                    block.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end..];
                    if block.len() > HEADER_BYTES_MAX {
                        return Err(Malformed);
                    }
                    if block == b"\r\n" || block.ends_with(b"\r\n\r\n") {
                        let block = std::mem::take(block);
                        let hasher = self.part(&block)?;
                        self.state = State::Before(Scan { hasher, matched: 0, imagined: 0 });
                    }
                }
                State::Epilogue(hasher) => {
                    hasher.update(bytes);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Option<Fingerprint> {
        let State::Epilogue(hasher) = &self.state else { return None };
        self.whole.body(hasher.finalize().as_bytes());
        Some(self.whole.finish())
    }

    /// A hasher that has taken in a part's header fields; `None` where the part does not count.
    fn part(&self, block: &[u8]) -> Result<Option<blake3::Hasher>, Malformed> {
        let fields = header_fields(block, &self.delimiter[2..])?;
        if self.is_omitted(&fields) {
            return Ok(None);
        }
        let mut hasher = PART.hasher();
        hasher.update(&(fields.len() as u64).to_le_bytes());
        for (name, value) in &fields {
            for text in [name.as_slice(), value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text);
            }
        }
        Ok(Some(hasher))
    }

    /// Only a part whose name can be read in one way is left out.
    fn is_omitted(&self, fields: &[Field<'_>]) -> bool {
        let mut dispositions = fields.iter().filter(|(name, _)| name == b"content-disposition");
        let (Some((_, value)), None) = (dispositions.next(), dispositions.next()) else { return false };
        let Some(disposition) = Parameterised::parse(value) else { return false };
        let extended = disposition.parameters.iter().any(|(name, _)| name == b"name*");
        let name = disposition.only(b"name").filter(|_| !extended);
        name.is_some_and(|name| self.omit.iter().any(|omit| omit.as_bytes() == name))
    }
}

impl Scan {
    /// Hashes everything before the next delimiter; what comes behind it, or `None` where it did not come yet.
    ///
    /// A delimiter has one CR, at its beginning. So what turns out to be none has none inside, and of all that was
    /// read only the last CR can begin one that goes on in the bytes to come.
    fn up_to<'a>(&mut self, delimiter: &[u8], mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.matched > 0 {
            let missing = &delimiter[self.matched..];
            let more = missing.iter().zip(bytes).take_while(|(one, other)| one == other).count();
            self.matched += more;
            bytes = &bytes[more..];
            if self.matched == delimiter.len() {
                return Some(bytes);
            }
            if bytes.is_empty() {
                return None;
            }
            self.hash(&delimiter[self.imagined..self.matched]);
            (self.matched, self.imagined) = (0, 0);
        }
        if let Some(at) = memmem::find(bytes, delimiter) {
            self.hash(&bytes[..at]);
            return Some(&bytes[at + delimiter.len()..]);
        }
        let begins = memrchr(b'\r', bytes).filter(|at| delimiter.starts_with(&bytes[*at..]));
        let end = begins.unwrap_or(bytes.len());
        self.hash(&bytes[..end]);
        self.matched = bytes.len() - end;
        None
    }

    fn hash(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }
}

fn is_padding(bytes: &[u8]) -> bool {
    bytes.len() <= PADDING_BYTES_MAX && bytes.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// A part's header fields sorted by name; those of one name stay in their order.
fn header_fields<'a>(block: &'a [u8], boundary_line: &[u8]) -> Result<Vec<Field<'a>>, Malformed> {
    let mut fields = Vec::new();
    let mut rest = block;
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let line = &rest[..end];
        rest = &rest[end + 2..];
        if line.is_empty() {
            break;
        }
        if line.starts_with(boundary_line) || line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(Malformed);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // A folded line begins with white space, which is no name either.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Malformed);
        }
        fields.push((name.to_ascii_lowercase(), trimmed(value)));
    }
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(fields)
}

/// Without spaces and tabs at both ends.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
