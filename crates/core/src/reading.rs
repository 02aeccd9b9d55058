//! How the status of an upstream's answer is read: did it execute what it was asked?

/// What an answer says of whether the upstream executed the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// It executed the request, or decided it for good: the answer is final.
    Completed,
    /// It says that it executed nothing: the next request is a fresh execution.
    Refused,
    /// It may have executed the request, or not.
    Unknown,
}

/// How an upstream's statuses are read, beyond the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPolicy {
    /// Statuses that mean: not executed. 425 and 429 unless stated.
    pub refused: Vec<u16>,
    /// Statuses that mean: final, though they would be unknown by default (a 500 that is known to be final, say).
    pub completed: Vec<u16>,
    /// Statuses by which an attempt *after doubt* learns only that the earlier one still runs. 409 unless stated.
    pub in_progress: Vec<u16>,
}

impl Default for AnswerPolicy {
    fn default() -> Self {
        Self { refused: vec![425, 429], completed: Vec::new(), in_progress: vec![409] }
    }
}

impl AnswerPolicy {
    /// Reads `status`; `after_doubt` says that an earlier attempt of the operation has an unknown outcome.
    #[must_use]
    pub fn read(&self, status: u16, after_doubt: bool) -> Reading {
        if after_doubt && self.in_progress.contains(&status) {
            return Reading::Unknown;
        }
        if self.refused.contains(&status) {
            return Reading::Refused;
        }
        if self.completed.contains(&status) {
            return Reading::Completed;
        }
        match status {
            408 | 500.. => Reading::Unknown,
            _ => Reading::Completed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_the_design_says() {
        let policy = AnswerPolicy::default();
        for status in [200, 201, 204, 301, 304, 400, 401, 404, 409, 422] {
            assert_eq!(policy.read(status, false), Reading::Completed, "{status}");
        }
        for status in [425, 429] {
            assert_eq!(policy.read(status, false), Reading::Refused, "{status}");
        }
        for status in [408, 500, 502, 503, 504, 599] {
            assert_eq!(policy.read(status, false), Reading::Unknown, "{status}");
        }
    }

    #[test]
    fn what_an_upstream_declares_goes_before_the_defaults() {
        let policy = AnswerPolicy { refused: vec![503], completed: vec![500], ..AnswerPolicy::default() };
        assert_eq!(policy.read(503, false), Reading::Refused);
        assert_eq!(policy.read(500, false), Reading::Completed);
        assert_eq!(policy.read(429, false), Reading::Completed);
    }

    #[test]
    fn after_doubt_a_409_says_only_that_the_earlier_attempt_still_runs() {
        let policy = AnswerPolicy::default();
        assert_eq!(policy.read(409, true), Reading::Unknown);
        assert_eq!(policy.read(409, false), Reading::Completed);
    }
}
