//! What is done at certain times, as a config writes it.

use std::collections::BTreeMap;

use steadfast_worker::Missed;

use super::{plain, some};
use crate::config::{
    Config, ScheduleConfig, ScheduleTimes,
    raw::{At, RawMissed, RawSchedule, Time},
};

pub(super) fn schedules(config: &Config) -> BTreeMap<String, At<RawSchedule>> {
    config.schedules.iter().map(|(name, schedule)| (name.clone(), At::nowhere(raw(schedule)))).collect()
}

fn raw(schedule: &ScheduleConfig) -> RawSchedule {
    let (cron, time_zone, every) = match &schedule.times {
        ScheduleTimes::Cron { expression, time_zone } => {
            (some(plain(expression)), some(plain(time_zone)), None)
        }
        ScheduleTimes::Every(interval) => (None, None, some(Time(*interval))),
    };
    let (missed, late) = match schedule.missed {
        Missed::Last => (RawMissed::Last, None),
        Missed::All => (RawMissed::All, None),
        Missed::Skip { after } => (RawMissed::Skip, some(Time(after))),
    };
    let headers = schedule
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), At::nowhere(plain(value.to_str().unwrap_or_default()))));
    RawSchedule {
        cron,
        time_zone,
        every,
        route: At::nowhere(plain(&schedule.route)),
        method: some(schedule.method.to_string()),
        path: At::nowhere(plain(&schedule.path)),
        headers: headers.collect(),
        body: (!schedule.body.is_empty()).then(|| At::nowhere(plain(&schedule.body))),
        missed: some(missed),
        late,
    }
}
