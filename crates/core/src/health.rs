//! Whether an endpoint is well, as its checks say: several in a row are needed to change what is believed, so that
//! one lost packet changes nothing.

/// How many checks in a row change what is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthThresholds {
    /// Checks passed in a row that make it well again; at least 1.
    pub rise: u32,
    /// Checks failed in a row that make it unwell; at least 1.
    pub fall: u32,
}

/// What is believed of one endpoint. Until its first check it counts as well, and that one decides alone: nothing
/// is believed yet that several would have to outweigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not checked yet.
    Unchecked,
    /// It is well; so many checks failed since the last that it passed.
    Well {
        /// Failed in a row.
        failed: u32,
    },
    /// It is not; so many checks were passed since the last that failed.
    Unwell {
        /// Passed in a row.
        passed: u32,
    },
}

impl Health {
    /// Whether it should get requests.
    #[must_use]
    pub fn is_well(self) -> bool {
        match self {
            Self::Unchecked | Self::Well { .. } => true,
            Self::Unwell { .. } => false,
        }
    }

    /// What is believed after one more check.
    #[must_use]
    pub fn after(self, has_passed: bool, thresholds: HealthThresholds) -> Self {
        match (self, has_passed) {
            (Self::Unchecked | Self::Well { .. }, true) => Self::Well { failed: 0 },
            (Self::Unchecked | Self::Unwell { .. }, false) => Self::Unwell { passed: 0 },
            (Self::Well { failed }, false) if failed + 1 >= thresholds.fall => Self::Unwell { passed: 0 },
            (Self::Well { failed }, false) => Self::Well { failed: failed + 1 },
            (Self::Unwell { passed }, true) if passed + 1 >= thresholds.rise => Self::Well { failed: 0 },
            (Self::Unwell { passed }, true) => Self::Unwell { passed: passed + 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: HealthThresholds = HealthThresholds { rise: 2, fall: 3 };

    #[test]
    fn every_check_leads_where_the_table_says() {
        let well = |failed| Health::Well { failed };
        let unwell = |passed| Health::Unwell { passed };
        for (before, has_passed, after) in [
            (Health::Unchecked, true, well(0)),
            (Health::Unchecked, false, unwell(0)),
            (well(0), true, well(0)),
            (well(0), false, well(1)),
            (well(1), false, well(2)),
            (well(2), true, well(0)),
            (well(2), false, unwell(0)),
            (unwell(0), false, unwell(0)),
            (unwell(0), true, unwell(1)),
            (unwell(1), false, unwell(0)),
            (unwell(1), true, well(0)),
        ] {
            assert_eq!(before.after(has_passed, THRESHOLDS), after, "{before:?} {has_passed}");
        }
    }

    proptest! {
        #[test]
        fn only_checks_in_a_row_change_what_is_believed(
            checks in proptest::collection::vec(any::<bool>(), 0..200),
            rise in 1_u32..6,
            fall in 1_u32..6,
        ) {
            let thresholds = HealthThresholds { rise, fall };
            let mut health = Health::Unchecked;
            for (index, has_passed) in checks.iter().enumerate() {
                let before = health;
                health = health.after(*has_passed, thresholds);
                let in_a_row = checks[..=index].iter().rev().take_while(|check| *check == has_passed).count();
                let needed = if *has_passed { rise } else { fall } as usize;
                if before != Health::Unchecked && before.is_well() != health.is_well() {
                    prop_assert!(in_a_row >= needed);
                }
                if in_a_row >= needed {
                    prop_assert_eq!(health.is_well(), *has_passed);
                }
            }
        }
    }
}
