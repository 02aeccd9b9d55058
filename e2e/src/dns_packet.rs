//! The few bytes of DNS (RFC 1035) that a test's name server reads and writes.

use std::net::IpAddr;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// How long a header is, and where the question begins.
const HEADER_BYTES: usize = 12;

/// What a question got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// No error, perhaps without a record.
    NoError = 0,
    /// The server failed.
    ServFail = 2,
    /// There is no such name.
    NxDomain = 3,
}

/// One question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question<'p> {
    packet: &'p [u8],
    /// Where the question ends.
    end: usize,
    kind: u16,
    /// The name in small letters, without the dot at its end.
    pub(crate) name: String,
}

impl<'p> Question<'p> {
    /// Reads a packet with one question; nothing where it is none.
    pub(crate) fn read(packet: &'p [u8]) -> Option<Self> {
        let is_question = packet.get(2)? & 0x80 == 0 && packet.get(4..6)? == [0, 1];
        let mut at = HEADER_BYTES;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
        let end = at + 4;
        (is_question && packet.len() >= end).then(|| Self { packet, end, kind, name: labels.join(".") })
    }

    /// The answer: those of `addresses` that are of the family that was asked for.
    pub(crate) fn answer(&self, code: Code, addresses: &[IpAddr], ttl_seconds: u32) -> Vec<u8> {
        let records: Vec<(u16, Vec<u8>)> = addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(address) => (TYPE_A, address.octets().to_vec()),
                IpAddr::V6(address) => (TYPE_AAAA, address.octets().to_vec()),
            })
            .filter(|(kind, _)| *kind == self.kind)
            .collect();
        let mut packet = self.packet[..2].to_vec();
        // An answer, recursion available, and desired where it was.
        packet.extend([0x80 | (self.packet[2] & 0x01), 0x80 | code as u8]);
        let count = u16::try_from(records.len()).expect("few records");
        for count in [1, count, 0, 0] {
            packet.extend(count.to_be_bytes());
        }
        packet.extend(&self.packet[HEADER_BYTES..self.end]);
        for (kind, data) in records {
            // The name is the one that stands in the question.
            packet.extend([0xc0, HEADER_BYTES as u8]);
            packet.extend(kind.to_be_bytes());
            packet.extend(CLASS_IN.to_be_bytes());
            packet.extend(ttl_seconds.to_be_bytes());
            packet.extend(u16::try_from(data.len()).expect("an address").to_be_bytes());
            packet.extend(data);
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: u8) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(b"\x04Shop\x04test\x00");
        packet.extend([0, kind, 0, 1]);
        packet
    }

    #[test]
    fn a_question_is_read_and_answered_for_its_own_family() {
        let packet = question(1);
        let question = Question::read(&packet).expect("a question");
        assert_eq!(question.name, "shop.test");
        let addresses = ["127.0.0.2", "::1"].map(|address| address.parse().expect("an address"));
        let answer = question.answer(Code::NoError, &addresses, 5);
        assert_eq!(answer[..12], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answer[12..packet.len()], packet[12..]);
        assert_eq!(answer[packet.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 2]);
        let missing = question.answer(Code::NxDomain, &[], 5);
        assert_eq!((missing[3] & 0x0f, missing[7]), (3, 0));
    }

    #[test]
    fn what_is_no_question_is_not_read() {
        let packet = question(28);
        for length in 0..packet.len() {
            assert_eq!(Question::read(&packet[..length]), None, "{length}");
        }
        let mut answer = packet.clone();
        answer[2] |= 0x80;
        assert_eq!(Question::read(&answer), None);
    }
}
