//! How one answer is encrypted, and read again.
//!
//! The cipher is XChaCha20-Poly1305. Its nonce is not random but a keyed digest of everything that is encrypted and of
//! what it belongs to: so the same answer of the same operation is encrypted to the same bytes, and a store that
//! compares answers by the digest of what it was given still tells a repeated answer from a contradicting one, while
//! that digest tells nothing to whoever lacks the key (ADR 5). What it belongs to is authenticated: the operation, its
//! digest, the status, and whether it is the header fields or the body.

use bytes::Bytes;
use chacha20poly1305::{
    XNonce,
    aead::{Aead as _, Payload},
};
use steadfast_core::{Answer, HeaderFields, OperationDigest, OperationId};

use crate::{
    KeptRequest,
    keys::{ID_BYTES_MAX, Key, Keys},
};

/// The one field that an encrypted answer has; HTTP has none of this name.
const SEALED: &str = ":sealed";

/// The form of what is written: this byte, the length of the key's id, the id, the nonce, and what the cipher made.
const VERSION: u8 = 1;

const NONCE_BYTES: usize = 24;

/// Which answer it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    pub(crate) operation: OperationId,
    pub(crate) digest: OperationDigest,
}

/// Which part of an answer, or of a kept request.
#[derive(Clone, Copy)]
enum Part {
    Headers = 1,
    Body = 2,
    RequestHead = 3,
    RequestBody = 4,
}

/// Why an answer cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Nobody here has the key with this id.
    NoKey(Box<str>),
    /// It is not what was encrypted for this operation.
    Changed,
}

/// Whether the answer is one that was encrypted.
pub(crate) fn is_sealed(answer: &Answer) -> bool {
    sealed_headers(answer).is_some()
}

fn sealed_headers(answer: &Answer) -> Option<Bytes> {
    answer.headers.iter().next().filter(|(name, _)| *name == SEALED).map(|(_, value)| value)
}

/// Encrypts an answer. Its status, and whether there is a body and how long, stay as they are.
pub(crate) fn seal(key: &Key, whose: Whose, answer: &Answer) -> Answer {
    let part = |part, plain: &[u8]| seal_part(key, &context(whose, answer.status, part), plain);
    let headers = [(SEALED, part(Part::Headers, answer.headers.as_packed()))].into_iter().collect();
    let body = answer.body.as_ref().map(|body| part(Part::Body, body).into());
    Answer { status: answer.status, headers, body }
}

/// Decrypts an answer; one that was never encrypted is returned as it is.
pub(crate) fn open(keys: &Keys, whose: Whose, answer: Answer) -> Result<Answer, Unreadable> {
    let Some(headers) = sealed_headers(&answer) else { return Ok(answer) };
    let part = |part, sealed: &[u8]| open_part(keys, &context(whose, answer.status, part), sealed);
    let headers = HeaderFields::from_packed(part(Part::Headers, &headers)?.into());
    let body = answer.body.as_deref().map(|body| part(Part::Body, body)).transpose()?;
    let headers = headers.map_err(|_| Unreadable::Changed)?;
    Ok(Answer { status: answer.status, headers, body: body.map(Into::into) })
}

/// Encrypts a request that is kept. How long its body is stays as it is.
pub(crate) fn seal_request(key: &Key, digest: OperationDigest, request: &KeptRequest) -> KeptRequest {
    let part = |part, plain: &[u8]| seal_part(key, &request_context(digest, part), plain);
    let target = request.target.as_bytes();
    let target_bytes = u32::try_from(target.len()).unwrap_or(u32::MAX).to_le_bytes();
    let head = [&target_bytes, target, request.headers.as_packed()].concat();
    KeptRequest {
        target: "".into(),
        headers: [(SEALED, part(Part::RequestHead, &head))].into_iter().collect(),
        body: part(Part::RequestBody, &request.body).into(),
    }
}

/// Decrypts a request; one that was never encrypted is returned as it is.
pub(crate) fn open_request(
    keys: &Keys,
    digest: OperationDigest,
    request: KeptRequest,
) -> Result<KeptRequest, Unreadable> {
    let Some((_, head)) = request.headers.iter().next().filter(|(name, _)| *name == SEALED) else {
        return Ok(request);
    };
    let part = |part, sealed: &[u8]| open_part(keys, &request_context(digest, part), sealed);
    let head = part(Part::RequestHead, &head)?;
    let split = || {
        let (target_bytes, rest) = head.split_first_chunk::<4>()?;
        let target_bytes = usize::try_from(u32::from_le_bytes(*target_bytes)).ok()?;
        let (target, headers) = rest.split_at_checked(target_bytes)?;
        let headers = HeaderFields::from_packed(Bytes::copy_from_slice(headers)).ok()?;
        Some((std::str::from_utf8(target).ok()?.into(), headers))
    };
    let (target, headers) = split().ok_or(Unreadable::Changed)?;
    Ok(KeptRequest { target, headers, body: part(Part::RequestBody, &request.body)?.into() })
}

/// What a part of a request belongs to: its operation has no id yet when it is encrypted.
fn request_context(digest: OperationDigest, part: Part) -> [u8; 18] {
    let mut context = [0; 18];
    (context[0], context[1]) = (VERSION, part as u8);
    context[2..].copy_from_slice(digest.as_bytes());
    context
}

/// What a part belongs to, always as long.
fn context(whose: Whose, status: u16, part: Part) -> [u8; 36] {
    let mut context = [0; 36];
    context[0] = VERSION;
    context[1] = part as u8;
    context[2..4].copy_from_slice(&status.to_le_bytes());
    context[4..20].copy_from_slice(&whose.operation.to_bytes());
    context[20..].copy_from_slice(whose.digest.as_bytes());
    context
}

fn seal_part(key: &Key, context: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_keyed(&key.nonces);
    hasher.update(context).update(plain);
    let mut nonce = [0; NONCE_BYTES];
    hasher.finalize_xof().fill(&mut nonce);
    let payload = Payload { msg: plain, aad: context };
    // Only more than 256 GiB cannot be encrypted; nothing is then written instead, and the answer is unavailable.
    let encrypted = key.cipher.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
    let id = key.id().as_bytes();
    let mut sealed = Vec::with_capacity(2 + id.len() + NONCE_BYTES + encrypted.len());
    // An id has 32 bytes at most.
    sealed.extend_from_slice(&[VERSION, id.len() as u8]);
    sealed.extend_from_slice(id);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&encrypted);
    sealed
}

fn open_part(keys: &Keys, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let split = || {
        let (&[version, id_bytes], rest) = sealed.split_first_chunk()?;
        let (id, rest) = rest.split_at_checked(usize::from(id_bytes))?;
        let (nonce, encrypted) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let is_known = version == VERSION && id.len() <= ID_BYTES_MAX;
        is_known.then_some((std::str::from_utf8(id).ok()?, nonce, encrypted))
    };
    let (id, nonce, encrypted) = split().ok_or(Unreadable::Changed)?;
    let key = keys.with_id(id).ok_or_else(|| Unreadable::NoKey(id.into()))?;
    let payload = Payload { msg: encrypted, aad: context };
    key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Unreadable::Changed)
}

#[cfg(test)]
mod tests {
    use steadfast_core::{Bucket, Key as OperationKey, Namespace};

    use super::*;

    fn keys(ids: &[&str]) -> Keys {
        let line = |id: &&str| format!("{id}:{:A<43}=\n", id.repeat(4));
        Keys::parse(&ids.iter().map(line).collect::<String>()).expect("keys")
    }

    fn whose(key: &str, sequence: u64) -> Whose {
        let digest = OperationDigest::of(&Namespace::global(), &OperationKey::new(key).expect("a key"));
        let operation = OperationId::new(Bucket::of(&Namespace::global()), sequence, &digest);
        Whose { operation, digest }
    }

    fn answer(body: Option<&'static str>) -> Answer {
        Answer {
            status: 201,
            headers: [("etag", "\"secret\"")].into_iter().collect(),
            body: body.map(Into::into),
        }
    }

    fn sealed(keys: &Keys, whose: Whose, answer: &Answer) -> Answer {
        seal(keys.first().expect("a key"), whose, answer)
    }

    #[test]
    fn what_was_encrypted_is_read_and_nothing_of_it_shows() {
        let keys = keys(&["one"]);
        for body in [None, Some(""), Some("a secret body")] {
            let (plain, whose) = (answer(body), whose("k", 1));
            let sealed = sealed(&keys, whose, &plain);
            assert!(is_sealed(&sealed) && !is_sealed(&plain));
            assert_eq!((sealed.status, sealed.body.is_some()), (plain.status, plain.body.is_some()));
            let written = [sealed.headers.as_packed(), sealed.body.as_deref().unwrap_or_default()].concat();
            assert!(!written.windows(6).any(|window| window == b"secret"));
            assert_eq!(open(&keys, whose, sealed), Ok(plain.clone()));
            assert_eq!(open(&keys, whose, plain.clone()), Ok(plain));
        }
    }

    #[test]
    fn a_request_that_is_kept_is_read_for_its_own_operation_alone_and_nothing_of_it_shows() {
        let keys = keys(&["one"]);
        let (here, there) = (whose("k", 1).digest, whose("l", 1).digest);
        for body in ["", "a secret body"] {
            let plain = KeptRequest {
                target: "/secret?x=1".into(),
                headers: [("x-secret", "secret")].into_iter().collect(),
                body: body.into(),
            };
            let sealed = seal_request(keys.first().expect("a key"), here, &plain);
            let written = [sealed.target.as_bytes(), sealed.headers.as_packed(), &sealed.body].concat();
            assert!(!written.windows(6).any(|window| window == b"secret"));
            assert_eq!(open_request(&keys, here, sealed.clone()), Ok(plain.clone()));
            assert_eq!(open_request(&keys, there, sealed.clone()), Err(Unreadable::Changed));
            let other = self::keys(&["two"]);
            assert_eq!(open_request(&other, here, sealed), Err(Unreadable::NoKey("one".into())));
            assert_eq!(open_request(&keys, here, plain.clone()), Ok(plain));
        }
    }

    #[test]
    fn equal_answers_of_one_operation_have_equal_digests_and_others_have_others() {
        let keys = keys(&["one"]);
        let digest = |whose, answer: &Answer| sealed(&keys, whose, answer).digest();
        let plain = answer(Some("body"));
        let other_date = Answer { headers: [("date", "later")].into_iter().collect(), ..plain.clone() };
        assert_eq!(digest(whose("k", 1), &plain), digest(whose("k", 1), &other_date));
        assert_ne!(digest(whose("k", 1), &plain), digest(whose("k", 1), &answer(Some("bodz"))));
        assert_ne!(digest(whose("k", 1), &plain), digest(whose("k", 2), &plain));
        assert_ne!(digest(whose("k", 1), &plain), digest(whose("l", 1), &plain));
        assert_ne!(digest(whose("k", 1), &plain), plain.digest(), "the plain answer's would confirm a guess");
    }

    #[test]
    fn an_answer_that_was_moved_or_changed_is_refused() {
        let keys = keys(&["one"]);
        let (plain, here) = (answer(Some("body")), whose("k", 1));
        let good = sealed(&keys, here, &plain);
        for there in [whose("k", 2), whose("l", 1)] {
            assert_eq!(open(&keys, there, good.clone()), Err(Unreadable::Changed));
        }
        assert_eq!(open(&keys, here, Answer { status: 200, ..good.clone() }), Err(Unreadable::Changed));
        let body = good.body.clone().expect("a body");
        for at in 0..body.len() {
            let mut changed = body.to_vec();
            changed[at] ^= 1;
            assert!(
                open(&keys, here, Answer { body: Some(changed.into()), ..good.clone() }).is_err(),
                "{at}"
            );
            let cut = Some(body.slice(..at));
            assert!(open(&keys, here, Answer { body: cut, ..good.clone() }).is_err(), "cut at {at}");
        }
        let headers = sealed_headers(&good).expect("header fields");
        let as_body = Answer { body: Some(headers), ..good };
        assert_eq!(open(&keys, here, as_body), Err(Unreadable::Changed));
    }

    #[test]
    fn any_key_of_the_file_decrypts_and_one_that_is_gone_is_named() {
        let (old, both, new) = (keys(&["one"]), keys(&["two", "one"]), keys(&["two"]));
        let (plain, whose) = (answer(Some("body")), whose("k", 1));
        let sealed_before = sealed(&old, whose, &plain);
        assert_eq!(open(&both, whose, sealed_before.clone()), Ok(plain.clone()));
        assert_eq!(open(&new, whose, sealed_before), Err(Unreadable::NoKey("one".into())));
        assert_eq!(open(&new, whose, sealed(&both, whose, &plain)), Ok(plain));
    }
}
