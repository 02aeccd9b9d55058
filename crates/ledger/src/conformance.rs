//! The suite every store passes: each test is a claim that the traits' documentation makes.
//!
//! A store's tests implement [`Harness`] once and list everything with
//! `steadfast_ledger::conformance_tests!(MyHarness::new().await)`, which makes one `#[tokio::test]` of each
//! claim, each on a fresh, empty ledger.

mod answers;
mod backlog;
mod bans;
mod claiming;
mod credentials;
mod dead_letters;
mod doubt;
mod duties;
mod erasing;
mod finishing;
mod fixture;
mod lanes;
mod leases;
mod pauses;
mod reading;
mod redrives;
mod retention;
mod settling;

use std::time::Duration;

use crate::SharedLedger;

/// What the suite needs of a store: a fresh, empty ledger, whose process can die and whose time can pass.
pub trait Harness: Send {
    /// The ledger as it is open now. After [`Harness::restart`] the earlier ones are dead.
    fn ledger(&self) -> SharedLedger;

    /// Ends the process that holds the ledger, as abruptly as can be shown, and opens the same data again in
    /// another. Claims that were live need not be resolved yet: the suite lets their leases run out.
    fn restart(&mut self) -> impl Future<Output = ()> + Send;

    /// Lets this much time pass, on every clock that the ledger reads: for leases and for retention. At least
    /// milliseconds count.
    fn advance(&mut self, by: Duration) -> impl Future<Output = ()> + Send;
}

/// Names every claim once: here they become the suite and the macro that lists them as tests.
macro_rules! claims {
    ($dollar:tt $($module:ident { $($name:ident),+ $(,)? })+) => {
        $($(pub use $module::$name;)+)+

        /// Every claim in turn, each on a ledger that `fresh` makes.
        ///
        /// # Panics
        /// Where the store breaks a claim.
        pub async fn suite<H: Harness, F: AsyncFn() -> H>(fresh: F) {
            $($($name(fresh().await).await;)+)+
        }

        /// Makes one `#[tokio::test]` of each claim of the suite. The expression makes a harness with a fresh,
        /// empty ledger; it is evaluated in an async function, once for each test.
        #[macro_export]
        macro_rules! conformance_tests {
            ($dollar harness:expr) => {
                $($(
                    #[tokio::test]
                    async fn $name() {
                        $dollar crate::conformance::$name($dollar harness).await;
                    }
                )+)+
            };
        }
    };
}

claims! { $
    claiming {
        grants_a_claim_once,
        grants_one_of_fifty_concurrent_claims,
        keeps_a_claim_over_a_restart,
        tells_a_different_fingerprint_before_in_progress,
        claims_a_released_operation_afresh_with_a_new_fingerprint,
        separates_namespaces,
        separates_keys_that_ask_the_same,
        takes_the_longest_key,
        grants_relaxed_claims_like_synced_ones,
    }
    finishing {
        replays_the_answer_after_a_restart,
        finishes_the_same_end_twice_without_harm,
        releases_what_was_not_sent_or_refused,
        changes_nothing_for_a_fence_that_never_was,
        keeps_a_contradicting_answer_and_opens_one_case,
        never_calls_an_answer_recorded_that_is_not_the_stored_one,
        keeps_what_is_released_over_a_restart,
        wakes_whoever_waits,
        finds_no_operation_of_an_earlier_life,
    }
    doubt {
        holds_an_unknown_outcome_in_doubt,
        keeps_doubt_over_a_restart,
        tells_a_different_fingerprint_of_an_operation_in_doubt,
        runs_again_only_within_the_stricter_time_since_the_first_send,
        runs_again_only_for_a_caller_it_discloses_to,
        keeps_doubt_through_a_rerun_that_was_not_sent,
        completes_doubt_with_a_late_answer,
        keeps_a_late_answer_while_a_rerun_is_under_way_and_adopts_it,
        prefers_the_answer_of_the_rerun_and_opens_a_case,
        takes_the_same_answer_twice_as_one,
    }
    leases {
        resolves_the_claims_of_a_dead_process,
        reaps_only_leases_that_ran_out,
        keeps_a_renewed_lease,
        reports_lost_claims_on_renewal,
        reaps_in_bounded_rounds,
        answers_a_check,
    }
    retention {
        claims_an_expired_operation_afresh_before_any_sweep,
        keeps_what_has_not_expired,
        counts_a_window_from_its_claim,
        binds_a_window_while_it_is_unfinished,
        holds_the_key_with_a_tombstone,
        lets_the_key_go_after_the_tombstone,
        sweeps_in_bounded_rounds,
        never_expires_doubt,
        sweeps_released_operations,
        never_gives_an_id_twice,
    }
    settling {
        settles_doubt_with_an_answer,
        settles_doubt_without_an_answer,
        learns_the_answer_after_a_settlement_without_one,
        settles_that_nothing_happened,
        refuses_to_settle_what_is_not_in_doubt,
        opens_a_case_when_an_answer_contradicts_a_settlement,
    }
    erasing {
        erases_what_a_principal_made_and_keeps_the_key_taken,
        frees_an_erased_key_when_its_retention_ends,
        leaves_what_is_unfinished_or_in_doubt,
        erases_evidence_cases_and_settlements,
        takes_no_late_answer_into_what_was_erased,
        erases_in_bounded_steps_and_counts_before,
        erases_by_credential_and_by_namespace,
        erases_the_name_of_a_tombstone,
    }
    bans {
        keeps_bans_over_a_restart,
        bans_a_subject_once,
        lets_repeated_bans_grow,
        lifts_a_ban_once,
        tells_which_bans_changed,
        forgets_bans_that_ended_long_ago,
    }
    credentials {
        keeps_credentials_over_a_restart,
        replaces_a_credential_with_an_overlap,
        replaces_no_credential_that_has_ended,
        revokes_a_credential_once,
        tells_which_credentials_changed,
        notes_when_credentials_were_used,
        forgets_credentials_that_ended_long_ago,
    }
    reading {
        reads_an_operation_by_its_id,
        tells_the_attempts_in_order,
        lists_newest_first_in_pages,
        filters_lists,
        finds_what_a_request_made,
        knows_who_made_the_attempt_of_a_dead_process,
        counts_what_needs_attention,
        finds_nothing_by_an_unknown_id,
    }
    answers {
        keeps_headers_in_order_and_byte_for_byte,
        tells_an_empty_body_from_one_that_is_unavailable,
        keeps_a_body_of_five_megabytes,
    }
    backlog {
        hands_out_accepted_work_once_after_a_restart,
        accepts_a_name_once_and_tells_how_it_stands,
        accepts_what_is_released_or_expired_afresh,
        hands_out_each_operation_to_one_of_many_workers,
        hands_out_what_is_due_by_priority_and_time,
        tells_that_something_arrived,
        waits_for_the_time_of_the_next_attempt,
        holds_what_nobody_knows_until_it_is_settled,
        keeps_doubt_through_later_attempts,
        holds_instead_of_taking_when_the_time_to_repeat_is_over,
        completes_what_waits_in_doubt_with_a_late_answer,
        heeds_no_end_of_a_stale_attempt,
        runs_the_work_of_a_dead_worker_again_where_that_is_safe,
        gives_up_on_what_kills_its_workers,
        calls_off_what_has_not_been_done,
        sweeps_work_with_what_was_kept_for_it,
        tells_what_is_kept_and_how_much_there_is_to_do,
    }
    lanes {
        hands_out_the_head_of_a_lane_alone,
        blocks_behind_trouble_until_it_is_settled,
        passes_trouble_by_where_that_is_said,
        goes_on_past_what_is_called_off,
        keeps_its_order_when_a_worker_dies,
    }
    dead_letters {
        groups_dead_letters_by_route_and_end,
        sends_a_dead_letter_round_again,
        sends_doubt_round_again_only_where_that_is_safe,
        removes_dead_letters_and_never_doubt,
    }
    redrives {
        finds_dead_letters_that_pass_a_filter,
        sends_each_letter_of_a_run_round_again_once,
        leaves_what_is_not_a_run_s_own_and_counts_what_stays,
        stops_a_run_and_resumes_it_where_it_was,
        bounds_runs_and_forgets_the_oldest,
    }
    pauses {
        keeps_a_route_at_rest_over_a_restart,
        ends_a_pause_by_its_time_or_by_hand,
    }
    duties {
        gives_a_duty_to_one_node_at_a_time,
        moves_marks_on_and_never_back,
    }
}
