//! What the policies of upstreams and routes count, by name, written out when it is asked for. A tally outlives
//! whatever counted into it: its numbers never go back.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use steadfast_core::BanSource;
use steadfast_layers::{
    AbuseTallies, BanTally, BaselineTally, Counted, LimitTally, RouteTally, UpstreamTally, VersionTally,
};

/// All tallies there are.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    upstreams: Named<UpstreamTally>,
    routes: Named<RouteTally>,
    versions: Named<VersionTally>,
    limits: Named<LimitTally>,
    bans: Named<BanTally>,
    baselines: Named<BaselineTally>,
}

type Named<T> = Mutex<BTreeMap<String, Arc<T>>>;

impl Tallies {
    /// The tally of the upstream of this name.
    pub(crate) fn upstream(&self, name: &str) -> Arc<UpstreamTally> {
        named(&self.upstreams, name)
    }

    /// The tally of the route of this name.
    pub(crate) fn route(&self, name: &str) -> Arc<RouteTally> {
        named(&self.routes, name)
    }

    /// The tally of the version of this name. Names of versions come from the config alone.
    pub(crate) fn version(&self, name: &str) -> Arc<VersionTally> {
        named(&self.versions, name)
    }

    /// The tally of the limit of this name.
    pub(crate) fn limit(&self, name: &str) -> Arc<LimitTally> {
        named(&self.limits, name)
    }

    /// The tallies of those who do harm.
    pub(crate) fn abuse(&self) -> AbuseTallies {
        let bans = BanSource::ALL.map(|source| named(&self.bans, source.as_str()));
        AbuseTallies { bans, baseline: named(&self.baselines, "baseline") }
    }
}

fn named<T: Default>(all: &Named<T>, name: &str) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(name.to_owned()).or_default())
}

impl Collector for Tallies {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        write(&mut encoder, "upstream", UpstreamTally::ALL, &self.upstreams)?;
        write(&mut encoder, "http_route", RouteTally::ALL, &self.routes)?;
        write(&mut encoder, "version", VersionTally::ALL, &self.versions)?;
        write(&mut encoder, "limit", LimitTally::ALL, &self.limits)?;
        write(&mut encoder, "source", BanTally::ALL, &self.bans)?;
        write(&mut encoder, "policy", BaselineTally::ALL, &self.baselines)
    }
}

fn write<T>(
    encoder: &mut DescriptorEncoder<'_>,
    label: &str,
    counted: &[Counted<T>],
    all: &Named<T>,
) -> Result<(), fmt::Error> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    for number in counted {
        let kind = if number.is_gauge { MetricType::Gauge } else { MetricType::Counter };
        let mut family = encoder.encode_descriptor(number.name, number.help, None, kind)?;
        for (name, tally) in &*all {
            let value = (number.of)(tally).get();
            let labels = [(label, name.as_str())];
            let metric = family.encode_family(&labels)?;
            if number.is_gauge {
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
            } else {
                ConstCounter::new(value).encode(metric)?;
            }
        }
    }
    Ok(())
}
