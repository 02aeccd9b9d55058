//! The access log: one line a request, JSON, or readable text on a terminal.
//!
//! The data path never waits for it: lines go into a buffer in memory, and a thread of its own writes them out. A
//! writer that cannot keep up loses lines, which are counted.

use std::{
    fmt::Write as _,
    io::Write,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use http::Method;
use jiff::Timestamp;
use steadfast_core::{Code, OperationId};
use steadfast_layers::Protection;

/// How many bytes may wait to be written; lines beyond that are lost.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// With this much waiting the writer is woken at once.
const WAKE_BYTES: usize = 256 << 10;
/// How long a line waits at most before it is written.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// What is told of one request.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// When it arrived, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) request_id: &'a str,
    pub(crate) trace_id: Option<&'a str>,
    /// The address of who is calling.
    pub(crate) client: &'a str,
    pub(crate) method: &'a Method,
    /// The path without its query: queries carry secrets.
    pub(crate) path: &'a str,
    pub(crate) route: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    /// What the idempotency layer decided, where it applied.
    pub(crate) decision: Option<Protection>,
    pub(crate) operation: Option<OperationId>,
    /// How often it was tried, where once was not enough.
    pub(crate) attempts: Option<u32>,
    /// What the cache did, where the route has one.
    pub(crate) cache: Option<&'static str>,
    /// Which rungs of the ladder of degradation were used.
    pub(crate) degraded: Option<&'a str>,
    /// What it was refused with.
    pub(crate) code: Option<Code>,
    /// Whether the answer was sent whole.
    pub(crate) complete: bool,
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct AccessLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    text: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    woken: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    closed: bool,
}

impl AccessLog {
    /// Writes to `out`, as text where somebody reads along.
    pub(crate) fn new(mut out: Box<dyn Write + Send>, text: bool) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_out(&for_writer, &mut *out))?;
        Ok(Self { shared, writer: Some(writer), text })
    }

    /// Adds a line.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.bytes.len();
        if before > WAITING_BYTES_MAX {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let line = &mut waiting.bytes;
        let written = if self.text { write_text(line, entry) } else { write_json(line, entry) };
        if written.is_err() {
            line.truncate(before);
        }
        if before < WAKE_BYTES && line.len() >= WAKE_BYTES {
            self.shared.woken.notify_one();
        }
    }

    /// How many lines were lost because the writer could not keep up.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.woken.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to say.
            let _ = writer.join();
        }
    }
}

fn write_out(shared: &Shared, out: &mut (dyn Write + Send)) {
    let mut batch = Vec::new();
    loop {
        let closed = {
            let waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let enough = |waiting: &mut Waiting| waiting.bytes.len() < WAKE_BYTES && !waiting.closed;
            let (mut waiting, _) = shared
                .woken
                .wait_timeout_while(waiting, FLUSH_AFTER, enough)
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut batch, &mut waiting.bytes);
            waiting.closed
        };
        // Nobody can be told that the log cannot be written; the gateway goes on.
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        if closed {
            return;
        }
    }
}

fn write_json(line: &mut Vec<u8>, entry: &Entry<'_>) -> std::io::Result<()> {
    line.extend_from_slice(b"{\"time\":\"");
    write_time(line, entry.at_ms);
    line.extend_from_slice(b"\",\"request_id\":\"");
    line.extend_from_slice(entry.request_id.as_bytes());
    if let Some(trace_id) = entry.trace_id {
        write!(line, "\",\"trace_id\":\"{trace_id}")?;
    }
    line.extend_from_slice(b"\",\"client\":\"");
    line.extend_from_slice(entry.client.as_bytes());
    line.extend_from_slice(b"\",\"method\":");
    write_string(line, entry.method.as_str());
    line.extend_from_slice(b",\"path\":");
    write_string(line, entry.path);
    line.extend_from_slice(b",\"route\":");
    write_string(line, entry.route);
    let mut digits = itoa::Buffer::new();
    line.extend_from_slice(b",\"status\":");
    line.extend_from_slice(digits.format(entry.status).as_bytes());
    line.extend_from_slice(b",\"bytes\":");
    line.extend_from_slice(digits.format(entry.bytes).as_bytes());
    line.extend_from_slice(b",\"duration_ms\":");
    line.extend_from_slice(digits.format(entry.duration.as_millis()).as_bytes());
    write_thousandths(line, entry.duration.subsec_micros() % 1_000);
    if let Some(decision) = entry.decision {
        write!(line, ",\"idempotency\":\"{}\"", decision.as_str())?;
    }
    if let Some(operation) = entry.operation {
        line.extend_from_slice(b",\"operation\":\"");
        line.extend_from_slice(&operation.to_ascii());
        line.push(b'"');
    }
    if let Some(attempts) = entry.attempts {
        write!(line, ",\"attempts\":{attempts}")?;
    }
    if let Some(cache) = entry.cache {
        line.extend_from_slice(b",\"cache\":\"");
        line.extend_from_slice(cache.as_bytes());
        line.push(b'"');
    }
    if let Some(degraded) = entry.degraded {
        line.extend_from_slice(b",\"degraded\":");
        write_string(line, degraded);
    }
    if let Some(code) = entry.code {
        write!(line, ",\"code\":\"{}\"", code.as_str())?;
    }
    if !entry.complete {
        line.extend_from_slice(b",\"complete\":false");
    }
    line.extend_from_slice(b"}\n");
    Ok(())
}

/// A JSON string; methods and paths are nearly always plain.
fn write_string(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
        return;
    }
    for character in text.chars() {
        match character {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            '\0'..='\x1f' => {
                let mut escape = String::new();
                let _ = write!(escape, "\\u{:04x}", u32::from(character));
                line.extend_from_slice(escape.as_bytes());
            }
            _ => line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    line.push(b'"');
}

fn write_text(line: &mut Vec<u8>, entry: &Entry<'_>) -> std::io::Result<()> {
    write_time(line, entry.at_ms);
    write!(
        line,
        " {} {:<6} {} {:.1} ms",
        entry.status,
        entry.method.as_str(),
        entry.path,
        entry.duration.as_secs_f64() * 1_000.0
    )?;
    if let Some(decision) = entry.decision {
        write!(line, " {}", decision.as_str())?;
    }
    if let Some(operation) = entry.operation {
        write!(line, " {operation}")?;
    }
    if let Some(attempts) = entry.attempts {
        write!(line, " ({attempts} attempts)")?;
    }
    if let Some(cache) = entry.cache {
        write!(line, " cache {cache}")?;
    }
    if let Some(degraded) = entry.degraded {
        write!(line, " ({degraded})")?;
    }
    if let Some(code) = entry.code {
        // Who reads along can ask why.
        write!(line, " {} {}", code.as_str(), entry.request_id)?;
    }
    if !entry.complete {
        line.extend_from_slice(b" (cut off)");
    }
    line.push(b'\n');
    Ok(())
}

/// RFC 3339 with milliseconds. The second is written once and kept: most lines share it.
fn write_time(line: &mut Vec<u8>, at_ms: i64) {
    thread_local!(static SECOND: std::cell::RefCell<(i64, String)> = const { std::cell::RefCell::new((i64::MIN, String::new())) });
    let second = at_ms.div_euclid(1_000);
    SECOND.with_borrow_mut(|(cached, text)| {
        if *cached != second {
            *cached = second;
            text.clear();
            let stamp = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
            text.push_str(stamp.trim_end_matches('Z'));
        }
        line.extend_from_slice(text.as_bytes());
    });
    write_thousandths(line, at_ms.rem_euclid(1_000) as u32);
    line.push(b'Z');
}

/// Three digits behind a point. Every line has some, and formatting would take as long as all else in it.
fn write_thousandths(line: &mut Vec<u8>, thousandths: u32) {
    let digit = |of: u32| b'0' + (thousandths / of % 10) as u8;
    line.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Channel(mpsc::Sender<Vec<u8>>);

    impl Write for Channel {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_path_holds() {
        let (sender, lines) = mpsc::channel();
        let log = AccessLog::new(Box::new(Channel(sender)), false).expect("a thread");
        log.write(&Entry {
            at_ms: 1_700_000_000_123,
            request_id: "r",
            trace_id: None,
            client: "127.0.0.1",
            method: &Method::POST,
            path: "/a\"b\\c\u{1}",
            route: "/*",
            status: 201,
            bytes: 7,
            duration: Duration::from_micros(1_500),
            decision: Some(Protection::New),
            operation: None,
            attempts: Some(3),
            cache: Some("hit"),
            degraded: Some("retry, fallback;for=503"),
            code: Some(Code::QuotaExceeded),
            complete: true,
        });
        drop(log);
        let line: Vec<u8> = lines.iter().flatten().collect();
        let document: serde_json::Value = serde_json::from_slice(&line).expect("one JSON object");
        assert_eq!(document["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(document["path"], "/a\"b\\c\u{1}");
        assert_eq!(document["duration_ms"], 1.5);
        assert_eq!(document["idempotency"], "new");
        assert_eq!(document["attempts"], 3);
        assert_eq!(document["cache"], "hit");
        assert_eq!(document["degraded"], "retry, fallback;for=503");
        assert_eq!(document["code"], "quota-exceeded");
    }
}
