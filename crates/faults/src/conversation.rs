//! Whose turn it is on one connection, and which faults are in force in this exchange.
//!
//! An exchange begins when the client speaks for the first time or again after it was answered. That is enough
//! for request-reply protocols on kept-alive connections, and needs no parser.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::armed::{Armed, Drawn};
use crate::stats::Board;

/// The state that both directions of a connection share.
#[derive(Debug)]
pub(crate) struct Conversation {
    talk: Mutex<Talk>,
    client_left: watch::Sender<bool>,
}

/// The faults in force, and what they were drawn for.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) armed: Arc<Armed>,
    /// The connection's number within its plan.
    pub(crate) connection: u64,
    /// From 1; 0 before the client has spoken.
    pub(crate) exchange: u64,
    pub(crate) drawn: Drawn,
}

#[derive(Debug)]
struct Talk {
    turn: Arc<Turn>,
    /// What strikes the connection as a whole.
    lasting: Drawn,
    answered: bool,
}

impl Conversation {
    pub(crate) fn new(armed: Arc<Armed>, connection: u64, lasting: Drawn) -> Self {
        let turn = Arc::new(Turn { armed, connection, exchange: 0, drawn: lasting.clone() });
        let talk = Mutex::new(Talk { turn, lasting, answered: false });
        Conversation { talk, client_left: watch::Sender::new(false) }
    }

    /// The faults in force now.
    pub(crate) fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.talk().turn)
    }

    /// The client sent something: begins an exchange, under the `latest` plan, if it was the client's turn.
    pub(crate) fn client_spoke(&self, latest: impl FnOnce() -> Arc<Armed>, board: &Board) -> Arc<Turn> {
        let mut talk = self.talk();
        if talk.turn.exchange > 0 && !talk.answered {
            return Arc::clone(&talk.turn);
        }
        let latest = latest();
        let (connection, exchange) = if Arc::ptr_eq(&latest, &talk.turn.armed) {
            (talk.turn.connection, talk.turn.exchange + 1)
        } else {
            // The plan was replaced: to the new one this is a new connection.
            let connection = latest.next_connection();
            talk.lasting = latest.draw_connection(connection);
            count_drawn(board, &talk.lasting);
            (connection, 1)
        };
        let passing = latest.draw_exchange(connection, exchange);
        count_drawn(board, &passing);
        board.update(|stats| stats.exchanges += 1);
        let drawn = talk.lasting.and(&passing);
        talk.turn = Arc::new(Turn { armed: latest, connection, exchange, drawn });
        talk.answered = false;
        Arc::clone(&talk.turn)
    }

    /// True once the reply has begun to pass in this exchange.
    pub(crate) fn answered(&self) -> bool {
        self.talk().answered
    }

    /// The reply begins to pass to the client.
    pub(crate) fn answer_passes(&self, board: &Board) {
        let mut talk = self.talk();
        if talk.turn.exchange > 0 && !talk.answered {
            talk.answered = true;
            board.update(|stats| stats.replies += 1);
        }
    }

    /// The client closed or lost its connection.
    pub(crate) fn client_leaves(&self) {
        self.client_left.send_replace(true);
    }

    pub(crate) async fn client_left(&self) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self.client_left.subscribe().wait_for(|left| *left).await;
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the faults that count when they are drawn.
pub(crate) fn count_drawn(board: &Board, drawn: &Drawn) {
    use crate::plan::Direction::{TowardClient, TowardUpstream};
    board.update(|stats| {
        for effects in [TowardUpstream, TowardClient].map(|direction| drawn.effects(direction)) {
            stats.faults.latency += u64::from(effects.latency.is_some());
            stats.faults.slow += u64::from(effects.slow.is_some());
            stats.faults.bandwidth += u64::from(effects.bandwidth.is_some());
        }
    });
}

/// How many leading bytes are HTTP/1.1 interim replies (RFC 9110 §15.2): `100 Continue` invites the rest of the
/// request, so to swallow it as "the reply" would lose a request that the upstream never had whole.
pub(crate) fn interim_len(reply: &[u8]) -> usize {
    let mut len = 0;
    while reply[len..].starts_with(b"HTTP/1.1 1") {
        match reply[len..].windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => len += end + 4,
            None => return reply.len(),
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{DropReply, Goodbye, Plan, When};

    fn armed(plan: Plan) -> Arc<Armed> {
        Arc::new(Armed::new(plan, 1).unwrap())
    }

    #[test]
    fn an_exchange_begins_when_the_client_speaks_after_it_was_answered() {
        let (board, plan) = (Board::new(1), armed(Plan::default()));
        let conversation = Conversation::new(Arc::clone(&plan), 1, Drawn::default());
        let spoke = || conversation.client_spoke(|| Arc::clone(&plan), &board).exchange;
        conversation.answer_passes(&board);
        assert_eq!(board.snapshot().replies, 0, "a banner answers nothing");
        assert_eq!([spoke(), spoke()], [1, 1]);
        conversation.answer_passes(&board);
        conversation.answer_passes(&board);
        assert_eq!(spoke(), 2);
        assert_eq!((board.snapshot().exchanges, board.snapshot().replies), (2, 1));
    }

    #[test]
    fn a_new_plan_takes_over_at_the_next_exchange() {
        let (board, old) = (Board::new(1), armed(Plan::default()));
        let drop_reply = Some(DropReply { then: Goodbye::Close, when: When::default() });
        let new = armed(Plan { drop_reply, ..Plan::default() });
        let conversation = Conversation::new(Arc::clone(&old), 9, Drawn::default());
        assert!(conversation.client_spoke(|| old, &board).drawn.drop_reply.is_none());
        assert!(conversation.client_spoke(|| Arc::clone(&new), &board).drawn.drop_reply.is_none());
        conversation.answer_passes(&board);
        let turn = conversation.client_spoke(|| new, &board);
        assert!(turn.drawn.drop_reply.is_some());
        assert_eq!((turn.connection, turn.exchange), (1, 1));
    }

    #[test]
    fn interim_replies_are_not_the_reply() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let last = b"HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(interim_len(last), 0);
        assert_eq!(interim_len(b""), 0);
        assert_eq!(interim_len(&[&interim[..], &last[..]].concat()), interim.len());
        assert_eq!(interim_len(&[&interim[..], &interim[..]].concat()), interim.len() * 2);
        assert_eq!(interim_len(b"HTTP/1.1 103 Early"), 18);
    }
}
