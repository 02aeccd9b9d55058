//! What is done at certain times: the schedules of the config in force, as the scheduler sees them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use steadfast_core::{FingerprintBuilder, Owner, Timestamp};
use steadfast_layers::{BackgroundPolicy, IdempotencyPolicy};
use steadfast_ledger::{Enqueue, KeptRequest};
use steadfast_worker::{Schedule, Schedules, Timetable, tick_name};

use crate::{
    config::{Config, ScheduleConfig, ScheduleTimes},
    edge::Edge,
};

/// The schedules in force.
pub(crate) struct SchedulesInForce(pub(crate) Arc<Edge>);

impl Schedules for SchedulesInForce {
    fn schedules(&self) -> Arc<[Schedule]> {
        Arc::clone(&self.0.routes.load().schedules)
    }
}

/// The schedules of a config.
pub(crate) fn of(config: &Config) -> Arc<[Schedule]> {
    let known = config.schedules.iter().filter_map(|(name, schedule)| {
        let route = config.routes.iter().find(|route| *route.name == *schedule.route)?;
        let policy = route.idempotency.as_ref()?;
        let timetable = match &schedule.times {
            ScheduleTimes::Cron { expression, time_zone } => Timetable::cron(expression, time_zone),
            ScheduleTimes::Every(interval) => Timetable::every(*interval),
        };
        Some(Schedule {
            name: name.as_str().into(),
            // They were looked at when the config was checked.
            timetable: timetable.ok()?,
            missed: schedule.missed,
            work: work(name, schedule, policy, policy.background.as_ref()?),
        })
    });
    known.collect()
}

/// What is accepted for each tick; its name is the scheduler's to give.
fn work(
    name: &str,
    schedule: &ScheduleConfig,
    policy: &IdempotencyPolicy,
    background: &BackgroundPolicy,
) -> Enqueue {
    let (path, query) = match schedule.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*schedule.path, None),
    };
    let kind = schedule.headers.iter().find(|(name, _)| *name == http::header::CONTENT_TYPE);
    let kind = kind.map(|(_, value)| value.as_bytes());
    let mut fingerprint = FingerprintBuilder::new(schedule.method.as_str(), path, query, kind);
    fingerprint.body(schedule.body.as_bytes());
    let headers = schedule.headers.iter().map(|(name, value)| (name.as_str(), HeaderValue::as_bytes(value)));
    Enqueue {
        name: tick_name(name, Timestamp::from_millis(0)),
        fingerprint: fingerprint.finish(),
        owner: Owner { principal: None, credential: None },
        route: Arc::clone(&policy.route),
        method: schedule.method.as_str().into(),
        path: path.into(),
        repeatable_for: policy.repeatable_for,
        retention: policy.retention,
        request: KeptRequest {
            target: schedule.path.as_str().into(),
            headers: headers.collect(),
            body: Bytes::from(schedule.body.clone()),
        },
        delay: Duration::ZERO,
        priority: background.priority,
        lane: None,
        tries_max: background.tries_max,
        age_max: background.age_max,
    }
}
