//! A storm of keyed orders: callers that retry, race themselves and hang up, and remember every answer.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use e2e::{Answer, Ask, Caller, NoAnswer, Random, is_long};
use tokio::task::{LocalSet, yield_now};

/// How many callers there are at once.
const CALLERS: usize = 24;
/// How long a caller waits for an answer while everything may break.
const PATIENCE_IN_STORM: Duration = Duration::from_millis(1_500);
/// How long it waits when nothing breaks any more: longer than a duplicate is made to wait.
const PATIENCE_AFTER: Duration = Duration::from_secs(30);
/// How long one key may take before the test is stuck.
const KEY_WITHIN: Duration = Duration::from_secs(150);

/// What a storm is made of.
pub(crate) struct Storm {
    pub(crate) random: Random,
    /// The gateways; every request goes to any of them.
    pub(crate) gateways: Vec<SocketAddr>,
    pub(crate) orders: usize,
    diary: Rc<RefCell<Diary>>,
    finished: Rc<Cell<usize>>,
}

/// Every answer that any caller got, by key.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    pub(crate) told: BTreeMap<String, Vec<Result<Answer, NoAnswer>>>,
    /// How many times somebody was told to come again.
    pub(crate) sent_away: BTreeMap<String, usize>,
}

/// How far a storm is: what kills by progress waits for it.
#[derive(Clone)]
pub(crate) struct Progress {
    finished: Rc<Cell<usize>>,
    orders: usize,
}

impl Storm {
    pub(crate) fn of_test(gateways: Vec<SocketAddr>) -> Self {
        let (random, seed) = Random::of_test();
        println!("STEADFAST_SEED={seed}");
        let orders = if is_long() { 10_000 } else { 2_000 };
        Self { random, gateways, orders, diary: Rc::default(), finished: Rc::default() }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress { finished: Rc::clone(&self.finished), orders: self.orders }
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        (0..self.orders).map(|number| format!("order-{number}")).collect()
    }

    /// Lets the storm rage beside `chaos`; when that has ended, what is unfinished is asked for until it is.
    pub(crate) async fn rage<T>(&mut self, chaos: impl Future<Output = T>) -> (Diary, T) {
        let todo: Rc<RefCell<VecDeque<String>>> = Rc::new(RefCell::new(self.keys().into()));
        let over = Rc::new(Cell::new(false));
        let callers = LocalSet::new();
        let began = Instant::now();
        for _ in 0..CALLERS {
            let client = Client {
                random: self.random.fork(),
                callers: [(); 2].map(|()| self.callers(PATIENCE_IN_STORM)),
                diary: Rc::clone(&self.diary),
                over: Rc::clone(&over),
                patience: PATIENCE_IN_STORM,
            };
            callers.spawn_local(client.work(
                Rc::clone(&todo),
                Rc::clone(&self.finished),
                self.gateways.clone(),
            ));
        }
        let chaos = async {
            let done = chaos.await;
            over.set(true);
            done
        };
        let (done, ()) = tokio::join!(chaos, callers);
        println!("{} orders in {:?}", self.orders, began.elapsed());
        (self.diary.take(), done)
    }

    fn callers(&self, patience: Duration) -> Vec<Caller> {
        self.gateways.iter().map(|addr| Caller::new(*addr, patience)).collect()
    }
}

impl Progress {
    /// Waits until this share (0 to 1) of the keys has been asked for.
    pub(crate) async fn reached(&self, share: f64) {
        while (self.finished.get() as f64) < share * self.orders as f64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits for `count` moments spread at random over the storm, and does something at each.
    pub(crate) async fn at_moments(&self, count: usize, mut random: Random, mut act: impl AsyncFnMut()) {
        let mut shares: Vec<_> = (0..count).map(|_| random.pick(10..950) as f64 / 1_000.0).collect();
        shares.sort_by(f64::total_cmp);
        for share in shares {
            self.reached(share).await;
            tokio::time::sleep(random.millis(15)).await;
            act().await;
        }
    }
}

/// One caller, with a second connection for racing itself.
struct Client {
    random: Random,
    callers: [Vec<Caller>; 2],
    diary: Rc<RefCell<Diary>>,
    over: Rc<Cell<bool>>,
    patience: Duration,
}

/// What a caller makes of an answer.
enum Verdict {
    /// The upstream's word, or a refusal that another retry will not change.
    Done,
    /// Again, soon.
    Again,
    /// Somebody else is at it.
    Later,
}

impl Client {
    async fn work(
        mut self,
        todo: Rc<RefCell<VecDeque<String>>>,
        finished: Rc<Cell<usize>>,
        gateways: Vec<SocketAddr>,
    ) {
        let mut later = VecDeque::new();
        loop {
            let next = todo.borrow_mut().pop_front();
            let Some(key) = next else { break };
            if !self.buy(&key, 2).await {
                later.push_back(key);
            }
            finished.set(finished.get() + 1);
        }
        while !self.over.get() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.patience = PATIENCE_AFTER;
        self.callers =
            [(); 2].map(|()| gateways.iter().map(|addr| Caller::new(*addr, PATIENCE_AFTER)).collect());
        for key in later {
            assert!(self.buy(&key, usize::MAX).await, "{key} never ended");
        }
    }

    /// Retries one order until it is concluded; false where others were at it for `turns` turns.
    async fn buy(&mut self, key: &str, mut turns: usize) -> bool {
        let until = Instant::now() + KEY_WITHIN;
        loop {
            match self.turn(key).await {
                Verdict::Done => return true,
                Verdict::Again => tokio::time::sleep(self.random.millis(30)).await,
                Verdict::Later if turns <= 1 => return false,
                Verdict::Later => {
                    turns -= 1;
                    tokio::time::sleep(self.random.millis(200)).await;
                }
            }
            assert!(Instant::now() < until, "{key} did not end: {:?}", self.diary.borrow().told.get(key));
        }
    }

    /// One try: perhaps twice at once, perhaps hung up on.
    async fn turn(&mut self, key: &str) -> Verdict {
        let ask = Ask::order(key);
        let gateways = self.callers[0].len() as u64;
        let (here, there) = (self.random.pick(0..gateways) as usize, self.random.pick(0..gateways) as usize);
        let (races, hangs_up) = (self.random.percent(25), self.random.percent(8));
        let impatience = self.random.millis(12);
        let [first, second] = &mut self.callers;
        let (first, second) = (&mut first[here], &mut second[there]);
        if hangs_up {
            let asked = tokio::time::timeout(impatience, first.ask(&ask)).await;
            let told = asked.unwrap_or(Err(NoAnswer::HungUp));
            return self.note(key, told);
        }
        if !races {
            let told = first.ask(&ask).await;
            return self.note(key, told);
        }
        let (one, other) = tokio::join!(first.ask(&ask), async {
            yield_now().await;
            second.ask(&ask).await
        });
        match (self.note(key, one), self.note(key, other)) {
            (Verdict::Done, _) | (_, Verdict::Done) => Verdict::Done,
            (Verdict::Again, _) | (_, Verdict::Again) => Verdict::Again,
            (Verdict::Later, Verdict::Later) => Verdict::Later,
        }
    }

    fn note(&mut self, key: &str, told: Result<Answer, NoAnswer>) -> Verdict {
        let verdict = match &told {
            Err(NoAnswer::HungUp) => Verdict::Later,
            Err(NoAnswer::NotConnected | NoAnswer::Cut(_)) => Verdict::Again,
            Ok(answer) if answer.is_conclusive() => Verdict::Done,
            Ok(answer) => match answer.code().as_deref() {
                Some("operation-in-progress") => Verdict::Later,
                _ if answer.says_retry() => Verdict::Again,
                _ => Verdict::Done,
            },
        };
        let mut diary = self.diary.borrow_mut();
        if matches!(verdict, Verdict::Later) {
            *diary.sent_away.entry(key.to_owned()).or_default() += 1;
        }
        diary.told.entry(key.to_owned()).or_default().push(told);
        verdict
    }
}
