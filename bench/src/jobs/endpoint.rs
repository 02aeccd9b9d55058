//! Where jobs are sent: it answers at once, and remembers when each job came. It runs in a thread of the benchmark itself,
//! on the core of the load, so that its clock is the benchmark's.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::{server, wire};

/// Bytes that are read at once; a request has fewer.
const READ_BYTES: usize = 16 * 1024;
/// Where jobs are sent, before their number.
const PATH: &str = "/noop/";
/// What they are answered.
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// An endpoint that listens for as long as the benchmark runs.
pub(super) struct Endpoint {
    /// Where.
    pub(super) port: u16,
    deliveries: Arc<Mutex<Deliveries>>,
}

/// What came of the jobs that are expected.
#[derive(Default)]
pub(super) struct Deliveries {
    first: u64,
    /// When each of the jobs from `first` on came first.
    came: Vec<Option<Instant>>,
    distinct: usize,
    repeated: usize,
    strays: usize,
    begin: Option<Instant>,
    end: Option<Instant>,
}

impl Endpoint {
    /// Begins to listen.
    ///
    /// # Errors
    /// There is no port or no thread.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(server::loopback(0)).context("the endpoint cannot listen")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let deliveries = Arc::<Mutex<Deliveries>>::default();
        let noted = Arc::clone(&deliveries);
        thread::Builder::new().name("endpoint".to_owned()).spawn(move || {
            if let Err(error) = serve(listener, &noted) {
                eprintln!("the endpoint failed: {error:#}");
            }
        })?;
        Ok(Self { port, deliveries })
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Forgets what came, and waits for so many jobs from `first` on.
    pub(super) fn expect(&self, first: u64, count: u64) {
        let came = vec![None; count as usize];
        *self.deliveries() = Deliveries { first, came, ..Deliveries::default() };
    }

    /// What came so far.
    pub(super) fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all jobs came; `look` is called now and then with how many did.
    ///
    /// # Errors
    /// None came for so long, or `look` failed.
    pub(super) fn wait_for_all(
        &self,
        idle_max: Duration,
        mut look: impl FnMut(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let (distinct, all) = {
                let deliveries = self.deliveries();
                (deliveries.distinct, deliveries.came.len())
            };
            look(distinct)?;
            if distinct == all {
                return Ok(());
            }
            if distinct > last {
                (last, since) = (distinct, Instant::now());
            } else if since.elapsed() > idle_max {
                bail!("{distinct} of {all} jobs came, and no other within {idle_max:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Deliveries {
    fn note(&mut self, job: u64, now: Instant) {
        let place = job.checked_sub(self.first).and_then(|index| self.came.get_mut(index as usize));
        match place {
            Some(place @ None) => {
                *place = Some(now);
                self.distinct += 1;
                self.begin.get_or_insert(now);
                self.end = Some(now);
            }
            Some(Some(_)) => self.repeated += 1,
            None => self.strays += 1,
        }
    }

    /// Jobs a second from the first to the last of them.
    pub(super) fn per_second(&self) -> f64 {
        let (Some(begin), Some(end)) = (self.begin, self.end) else { return 0.0 };
        self.distinct.saturating_sub(1) as f64
            / end.duration_since(begin).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// When each job came, in the order of their numbers.
    pub(super) fn came(&self) -> &[Option<Instant>] {
        &self.came
    }

    /// Fails unless every job came, and came once.
    ///
    /// # Errors
    /// One did not, came again, or is none that was expected.
    pub(super) fn must_be_exact(&self) -> anyhow::Result<()> {
        let missing = self.came.len() - self.distinct;
        if missing + self.repeated + self.strays > 0 {
            bail!(
                "of {} jobs {missing} did not come, {} came again, and {} came of another round",
                self.came.len(),
                self.repeated,
                self.strays
            );
        }
        Ok(())
    }
}

fn serve(listener: TcpListener, deliveries: &Arc<Mutex<Deliveries>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let deliveries = Arc::clone(deliveries);
            tokio::task::spawn_local(async move {
                // A worker that ends closes its connections as it likes.
                if let Err(error) = converse(stream, &deliveries).await
                    && !error.is::<std::io::Error>()
                {
                    eprintln!("the endpoint was asked what it does not know: {error:#}");
                }
            });
        }
    })
}

async fn converse(mut stream: TcpStream, deliveries: &Mutex<Deliveries>) -> anyhow::Result<()> {
    let (mut input, mut output) = (Vec::with_capacity(READ_BYTES), Vec::new());
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let (now, mut taken) = (Instant::now(), 0);
        while let Some(head) = wire::request(&input[taken..])? {
            anyhow::ensure!(head.whole <= READ_BYTES, "a request of {} bytes", head.whole);
            if input.len() - taken < head.whole {
                break;
            }
            let job = job_of(&input[taken..]).context("a request for no job")?;
            deliveries.lock().unwrap_or_else(PoisonError::into_inner).note(job, now);
            taken += head.whole;
            output.extend_from_slice(ANSWER);
        }
        input.drain(..taken);
        stream.write_all(&output).await?;
        output.clear();
    }
}

/// The number of the job that is sent by the request that `input` begins with.
fn job_of(input: &[u8]) -> Option<u64> {
    let target = input.strip_prefix(b"POST ")?.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(target).ok()?.strip_prefix(PATH)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::{ANSWER, Deliveries, Endpoint, job_of};
    use crate::server::loopback;

    #[test]
    fn a_job_that_comes_twice_is_told_from_one_that_does_not_come() {
        let now = Instant::now();
        let mut deliveries = Deliveries { first: 10, came: vec![None; 2], ..Deliveries::default() };
        deliveries.note(10, now);
        assert!(deliveries.must_be_exact().is_err());
        deliveries.note(11, now + Duration::from_secs(1));
        deliveries.must_be_exact().unwrap();
        assert!((deliveries.per_second() - 1.0).abs() < f64::EPSILON);
        deliveries.note(11, now);
        assert!(deliveries.must_be_exact().unwrap_err().to_string().contains("1 came again"));
    }

    #[test]
    fn a_job_of_another_round_is_none_of_these() {
        let mut deliveries =
            Deliveries { first: 10, came: vec![Some(Instant::now())], ..Deliveries::default() };
        deliveries.distinct = 1;
        deliveries.note(9, Instant::now());
        assert!(deliveries.must_be_exact().is_err());
    }

    #[test]
    fn whoever_asks_is_answered_and_its_jobs_are_counted_once() {
        let endpoint = Endpoint::listen().unwrap();
        endpoint.expect(7, 2);
        let mut worker = TcpStream::connect(loopback(endpoint.port)).unwrap();
        let request = |job| format!("POST /noop/{job} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}");
        worker.write_all((request(8) + &request(7)).as_bytes()).unwrap();
        endpoint.wait_for_all(Duration::from_secs(10), |_| Ok(())).unwrap();
        endpoint.deliveries().must_be_exact().unwrap();
        let mut answers = vec![0; 2 * ANSWER.len()];
        worker.read_exact(&mut answers).unwrap();
        assert_eq!(answers, ANSWER.repeat(2));
    }

    #[test]
    fn the_number_of_a_job_stands_in_its_path() {
        assert_eq!(job_of(b"POST /noop/42 HTTP/1.1\r\n"), Some(42));
        assert_eq!(job_of(b"GET /noop/42 HTTP/1.1\r\n"), None);
        assert_eq!(job_of(b"POST /other HTTP/1.1\r\n"), None);
    }
}
