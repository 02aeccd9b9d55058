//! The contract: what any server that keeps the layers' promises over HTTP must do, whoever wires them. Each claim
//! is written once; a server under test provides a [`Stand`] and says `every_claim!(its_stand)`.

pub(crate) mod backend;
pub(crate) mod background;
pub(crate) mod bodies;
pub(crate) mod duplicates;
pub(crate) mod fickle;
pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod ledger_loss;
pub(crate) mod outcomes;
pub(crate) mod refusal;
pub(crate) mod repeats;
pub(crate) mod replays;
pub(crate) mod request_ids;
pub(crate) mod retention;
pub(crate) mod routes;
pub(crate) mod sources;
pub(crate) mod uploads;
pub(crate) mod wire;

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use steadfast_core::Timestamp;
use steadfast_ledger::{
    Clock, Remembering, SharedLedger,
    sqlite::{SqliteLedger, SqliteOptions},
};

use self::{
    backend::{Backend, Seen},
    fickle::Fickle,
    wire::{Answer, Ask, Line},
};

/// A server under test and what the test holds of it.
pub(crate) struct Stand {
    /// Where its callers reach it.
    pub(crate) address: SocketAddr,
    /// What stands behind it.
    pub(crate) backend: Backend,
    /// The clock of its ledger and its layers, which only the test moves.
    pub(crate) clock: Clock,
    /// Its ledger.
    pub(crate) ledger: Arc<Fickle>,
    /// What ends with it.
    pub(crate) _kept: Box<dyn Any + Send>,
}

/// A fresh SQLite ledger in a folder of its own, wired as the gateway wires it, and the clock it reads.
pub(crate) fn fresh_ledger() -> (Arc<Fickle>, Clock, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
    let ledger = SqliteLedger::open(&folder.path().join("steadfast.db"), options).expect("a ledger");
    let ledger: SharedLedger = Arc::new(Remembering::new(ledger, clock.clone(), 1 << 20));
    (Fickle::new(ledger), clock, folder)
}

impl Stand {
    /// Asks over a connection of its own.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        ask.to(self.address).await
    }

    /// Sends without waiting for the answer.
    pub(crate) async fn send(&self, ask: &Ask) -> Line {
        let mut line = Line::to(self.address).await;
        line.send(&ask.bytes()).await;
        line
    }

    /// The last request that the backend got.
    pub(crate) fn last_seen(&self) -> Seen {
        self.backend.seen().pop().expect("the backend was asked")
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

/// Writes a test for each claim of a module.
macro_rules! tests_of {
    ($stand:path, $($module:ident { $($claim:ident)+ })+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $claim() {
                crate::contract::$module::$claim($stand().await).await;
            })+
        })+
    };
}

/// Every claim of the contract, as tests of the server that `$stand` starts.
macro_rules! every_claim {
    ($stand:path) => {
        tests_of! { $stand,
            keys {
                a_required_key_that_is_missing_is_refused
                every_malformed_key_is_refused
                two_key_headers_are_refused
                the_quoted_and_the_bare_form_name_one_operation
                without_a_key_an_optional_route_lets_every_request_through
                other_methods_are_none_of_its_business
                a_key_used_for_another_request_is_refused
                a_reused_key_is_told_so_while_the_first_request_runs
                equal_requests_under_different_keys_are_two_operations
                equal_keys_on_two_routes_are_two_operations
                a_keyed_request_by_nobody_is_refused
                where_the_route_says_so_nobody_may_ask_and_is_replayed_to
                the_key_goes_on_to_the_backend_with_its_callers_credential
            }
            duplicates {
                a_duplicate_waits_for_the_first_and_gets_its_answer
                a_wait_that_ends_is_a_conflict
                a_wait_never_goes_past_the_deadline
                a_route_may_answer_a_running_duplicate_with_409_at_once
                a_route_may_answer_a_running_duplicate_with_429_at_once
                a_route_may_answer_a_running_duplicate_with_202_and_a_location
                fifty_duplicates_at_once_execute_once
                a_duplicate_of_what_falls_in_doubt_is_told_so
                a_duplicate_of_what_is_refused_executes_afresh
            }
            outcomes {
                every_final_answer_is_completed_and_replayed
                what_the_backend_refused_is_passed_on_and_executes_afresh
                a_declared_status_is_refused_and_another_is_final
                an_unknown_outcome_is_passed_on_and_stays_in_doubt
                an_answer_that_takes_too_long_is_in_doubt
                a_late_answer_is_taken_in
                an_answer_whose_body_never_ends_is_completed_and_not_replayed
                a_truncated_answer_is_completed_and_not_replayed
                an_oversized_answer_is_passed_on_whole_and_not_replayed
                an_oversized_answer_of_unknown_length_is_passed_on_whole_and_not_replayed
                an_event_stream_is_passed_on_as_it_comes_and_not_replayed
                a_caller_that_hangs_up_leaves_the_attempt_to_go_on
                a_caller_whose_deadline_passes_leaves_the_attempt_to_go_on
                a_deadline_that_passes_before_anything_is_sent_releases_the_key
                nothing_is_sent_before_the_claim_is_written
                no_answer_is_shown_before_its_outcome_is_written
                an_outcome_that_cannot_be_written_is_written_later
            }
            repeats {
                what_is_in_doubt_runs_again_with_the_same_key_where_that_is_declared
                after_its_time_a_repeatable_operation_stays_in_doubt
                a_409_after_doubt_settles_nothing
                a_refusal_after_doubt_does_not_release
                doubt_keeps_the_request_bound
                a_stranger_cannot_run_what_is_in_doubt_again
                a_lost_answer_says_that_asking_again_will_help
            }
            replays {
                a_replay_is_the_stored_answer_and_says_so
                a_replay_drops_what_belonged_to_one_moment
                a_replay_keeps_repeated_fields_in_order
                an_answer_without_a_body_is_replayed
                a_replay_is_withheld_from_another_credential_and_from_nobody
                a_withheld_replay_hides_nothing_about_a_changed_request
                cookies_are_no_credential
                a_replay_has_the_id_of_its_own_request
                a_replay_comes_from_the_store_as_well_as_from_memory
            }
            kept {
                a_redacted_value_reaches_its_first_caller_and_never_the_ledger
                a_late_answer_is_redacted_too
                a_duplicate_that_waits_gets_the_redacted_answer
                what_cannot_be_redacted_is_not_kept
                an_answer_with_nothing_to_redact_is_replayed_as_it_was
                an_answer_that_is_not_to_be_kept_is_passed_on_and_not_replayed
                only_the_headers_that_the_route_keeps_are_replayed
                a_path_is_kept_unless_the_route_says_otherwise
            }
            background {
                what_is_left_is_kept_and_its_caller_told_where_to_look
                a_duplicate_of_what_is_left_is_told_the_same
                what_is_left_without_a_key_is_an_operation_of_its_own
                within_a_window_the_same_work_is_left_once
                nobody_leaves_work_unless_the_route_says_so
                a_caller_may_prefer_to_be_answered_later
                what_is_said_of_when_must_be_clear
                a_kept_request_has_no_credential_and_nothing_of_its_connection
                a_body_too_large_to_be_kept_is_refused
                a_lost_ledger_promises_nothing
                what_could_not_be_done_at_once_is_left_instead
                what_may_have_been_done_is_never_left_instead
                a_wait_that_ends_before_the_work_does_is_a_202
                what_comes_after_its_deadline_is_not_left
                what_ends_while_its_caller_waits_is_told_at_once
                what_has_an_ordering_key_in_common_goes_in_one_lane
            }
            retention {
                a_key_executes_afresh_after_its_retention
                a_key_is_replayed_until_its_retention_ends
                a_tombstone_keeps_the_key_taken
                a_tombstone_ends
                what_is_in_doubt_never_expires
                a_key_that_expired_may_be_used_for_something_else
            }
            sources {
                a_field_of_the_body_is_a_key
                the_header_and_the_field_may_agree
                a_field_and_a_header_that_disagree_are_refused
                a_field_that_is_no_key_is_refused
                a_derived_key_needs_all_of_its_fields
                equal_fields_are_one_operation
                a_triple_click_within_the_window_executes_once
                after_the_window_the_same_request_executes_again_with_another_key
                a_duplicate_that_waits_past_its_window_gets_the_answer
                a_window_is_bound_while_its_operation_is_unfinished
                a_window_needs_to_know_who_is_calling
                two_callers_have_two_windows
                in_a_window_a_header_goes_first
                a_json_body_counts_as_what_it_says
            }
            bodies {
                a_body_declared_too_large_is_refused
                a_body_that_turns_out_too_large_is_refused
                a_body_of_exactly_the_limit_is_accepted
                a_truncated_request_executes_nothing_and_leaves_the_key_free
                a_broken_chunk_executes_nothing
                a_body_that_stops_arriving_is_given_up
                how_a_body_was_framed_makes_no_difference
                a_caller_that_asks_first_is_told_to_go_on
            }
            uploads {
                a_body_too_large_for_memory_arrives_whole_with_its_length
                a_spooled_request_is_replayed_however_it_was_framed
                a_spooled_body_that_differs_is_another_request
                a_spooled_upload_that_breaks_off_executes_nothing_and_leaves_the_key_free
                a_spooled_upload_that_stalls_is_given_up_and_leaves_the_key_free
                a_spooled_upload_that_turns_out_too_large_is_refused
                a_spooled_duplicate_of_what_is_refused_executes_afresh
                what_must_be_read_as_a_whole_is_held_to_memory
                a_multipart_body_with_another_boundary_is_the_same_request
                a_multipart_body_with_another_part_is_another_request
                what_is_no_multipart_counts_byte_by_byte
            }
            ledger_loss {
                a_lost_ledger_refuses_and_sends_nothing
                a_route_may_forward_without_the_ledger_and_says_so
                an_overloaded_ledger_refuses_everywhere
                an_unkeyed_request_needs_no_ledger
            }
            request_ids {
                a_valid_id_is_accepted_forwarded_and_returned
                an_invalid_id_is_replaced
                a_request_without_an_id_gets_one
                a_refusal_names_the_request
            }
        }
    };
}
