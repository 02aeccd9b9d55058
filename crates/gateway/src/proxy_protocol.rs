//! The PROXY protocol, versions 1 and 2: a proxy in front says who is calling, before the first byte of the caller's
//! own (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
/// The most that version 2 may bring along: two addresses, and what extensions say.
const EXTENT_BYTES_MAX: usize = 4_096;

/// Reads the header off `stream`. Returns who is calling; `None` where the proxy speaks for itself.
///
/// # Errors
/// There is no header, or it breaks off.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin == SIGNATURE { read_binary(stream).await } else { read_line(stream, &begin).await }
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), begin: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut line = begin.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(malformed("it begins otherwise"));
    }
    // What follows the line is the caller's and must not be read here, so it is read byte by byte.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(malformed("its line is too long"));
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line[..line.len() - 2]).map_err(|_| malformed("it is not text"))?;
    let parts: Vec<&str> = text.split(' ').collect();
    match parts[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", "TCP4", source, _, port, _] => address(source.parse::<Ipv4Addr>(), port),
        ["PROXY", "TCP6", source, _, port, _] => address(source.parse::<Ipv6Addr>(), port),
        _ => Err(malformed("its line says nothing known")),
    }
}

fn address<A: Into<IpAddr>, E>(source: Result<A, E>, port: &str) -> io::Result<Option<SocketAddr>> {
    match (source, port.parse()) {
        (Ok(source), Ok(port)) => Ok(Some(SocketAddr::new(source.into(), port))),
        _ => Err(malformed("its address cannot be read")),
    }
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let (command, family, extent) =
        (stream.read_u8().await?, stream.read_u8().await?, usize::from(stream.read_u16().await?));
    if command >> 4 != 2 {
        return Err(malformed("it is of another version"));
    }
    if extent > EXTENT_BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let mut rest = vec![0; extent];
    stream.read_exact(&mut rest).await?;
    match (command & 0x0f, family >> 4) {
        // The proxy's own connection, to see whether somebody is there.
        (0, _) => Ok(None),
        (1, 1) => {
            let octets: [u8; 12] = first(&rest)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = octets;
            Ok(Some(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))))
        }
        (1, 2) => {
            let (source, port): ([u8; 16], [u8; 2]) =
                (first(&rest)?, first(rest.get(32..).unwrap_or_default())?);
            Ok(Some(SocketAddr::from((source, u16::from_be_bytes(port)))))
        }
        // Something else than TCP over IP.
        (1, _) => Ok(None),
        _ => Err(malformed("its command is not known")),
    }
}

fn first<const N: usize>(bytes: &[u8]) -> io::Result<[u8; N]> {
    bytes.first_chunk().copied().ok_or_else(|| malformed("it is too short for its addresses"))
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no PROXY protocol header: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let mut left = bytes;
        let read = read(&mut left).await;
        (read, left.to_vec())
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(addresses.len()).expect("short").to_be_bytes());
        header.extend(addresses);
        header.extend(b"GET /");
        header
    }

    #[tokio::test]
    async fn both_versions_say_who_is_calling_and_leave_the_rest_alone() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80];
        let mut six = Ipv6Addr::LOCALHOST.octets().repeat(2);
        six.extend([0x30, 0x39, 0, 80]);
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\nGET /".to_vec(), Some("192.0.2.7:12345")),
            (b"PROXY TCP6 ::1 ::1 12345 80\r\nGET /".to_vec(), Some("[::1]:12345")),
            (b"PROXY UNKNOWN\r\nGET /".to_vec(), None),
            (b"PROXY UNKNOWN ::1 ::1 1 2\r\nGET /".to_vec(), None),
            (binary(0x21, 0x11, &four), Some("192.0.2.7:12345")),
            (binary(0x21, 0x21, &six), Some("[::1]:12345")),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            let (read, left) = read_all(&bytes).await;
            assert_eq!(read.expect("a header").map(|address| address.to_string()).as_deref(), expected);
            assert_eq!(left, b"GET /");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n",
            b"PROXY SCTP 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7",
            &long,
            &binary(0x11, 0x11, &[0; 12]),
            &binary(0x2f, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 4])[..20],
            &binary(0x21, 0x11, &[0; 4]),
        ] {
            assert!(read_all(bytes).await.0.is_err(), "{}", bytes.escape_ascii());
        }
    }
}
