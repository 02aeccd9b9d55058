//! Circuits, whatever happens to them.

use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use steadfast_core::circuit::{CallEnd, Circuit, CircuitPolicy, Order, Phase, Ticket};

use crate::seeded;

#[derive(Clone, Debug)]
enum Event {
    Begins,
    Ends { which: usize, end: CallEnd, took_ms: u64, may_eject: bool },
    Passes { ms: u64 },
    By { order: u8, ms: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let end = prop_oneof![Just(CallEnd::Succeeded), Just(CallEnd::Failed), Just(CallEnd::Unjudged)];
    prop_oneof![
        6 => Just(Event::Begins),
        6 => (any::<usize>(), end, 0..3_000_u64, any::<bool>())
            .prop_map(|(which, end, took_ms, may_eject)| Event::Ends { which, end, took_ms, may_eject }),
        2 => (0..4_000_u64).prop_map(|ms| Event::Passes { ms }),
        1 => (0..3_u8, 0..5_000_u64).prop_map(|(order, ms)| Event::By { order, ms }),
    ]
}

fn policy() -> CircuitPolicy {
    CircuitPolicy {
        volume_min: 3,
        slow: Some(Duration::from_secs(1)),
        window: Duration::from_secs(2),
        consecutive: Some(4),
        open_for: Duration::from_secs(1),
        open_for_max: Duration::from_secs(4),
        ..CircuitPolicy::default()
    }
}

#[test]
fn there_are_never_more_probes_than_allowed_and_it_is_never_stuck() {
    let events = proptest::collection::vec(event(), 0..200);
    seeded::check(500, &(any::<u64>(), events), |(seed, events)| {
        let mut circuit = Circuit::new(policy(), seed);
        let (mut now, mut under_way) = (Duration::from_secs(7), Vec::<Ticket>::new());
        let probes = policy().probes as usize;
        // Those of the current era, while it is half-open.
        let mut probing: Vec<Ticket> = Vec::new();
        for event in events {
            let era = circuit.era();
            match event {
                Event::Begins => {
                    let looked = circuit.look(now).is_ok();
                    let (ticket, _) = circuit.admit(now);
                    assert_eq!(looked, ticket.is_ok(), "what a look says is so");
                    match (ticket, circuit.phase()) {
                        (Ok(ticket), phase) => {
                            assert_ne!(phase, Phase::Open, "nothing goes through while it is open");
                            if circuit.era() != era {
                                probing.clear();
                            }
                            if phase == Phase::HalfOpen {
                                probing.push(ticket);
                            }
                            under_way.push(ticket);
                        }
                        (Err(held), phase) => {
                            assert_ne!(phase, Phase::Closed, "everything goes through while it is closed");
                            assert!(held.retry_after > Duration::ZERO);
                        }
                    }
                }
                Event::Ends { which, end, took_ms, may_eject } if !under_way.is_empty() => {
                    let ticket = under_way.swap_remove(which % under_way.len());
                    if let Some(place) = probing.iter().position(|probe| *probe == ticket) {
                        probing.swap_remove(place);
                    }
                    circuit.ended(ticket, end, Duration::from_millis(took_ms), now, may_eject);
                }
                Event::Ends { .. } => {}
                Event::Passes { ms } => now += Duration::from_millis(ms),
                Event::By { order, ms } => {
                    let until = now + Duration::from_millis(ms);
                    let order = [Order::Open { until }, Order::Closed { until }, Order::Automatic]
                        [usize::from(order)];
                    circuit.order(order, now);
                }
            }
            if circuit.era() != era && circuit.phase() != Phase::HalfOpen {
                probing.clear();
            }
            assert!(probing.len() <= probes, "{probing:?}");
        }
        // However it was left, and whatever became of what is under way: in time, calls go through again, and close it.
        now += Duration::from_secs(6);
        for _ in 0..probes {
            let ticket = circuit.admit(now).0.unwrap_or_else(|_| {
                now += policy().open_for_max;
                circuit.admit(now).0.expect("a call goes through")
            });
            circuit.ended(ticket, CallEnd::Succeeded, Duration::ZERO, now, true);
        }
        assert_eq!(circuit.phase(), Phase::Closed);
    });
}
