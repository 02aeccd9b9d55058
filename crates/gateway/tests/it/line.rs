//! What only a gateway's tests do with a connection.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::contract::wire::Line;

impl Line {
    /// Sends as long as somebody takes it.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Everything until the peer closes the connection, or nothing comes for so long.
    pub(crate) async fn until_quiet(&mut self, quiet: Duration) -> Vec<u8> {
        while let Ok(Ok(1..)) = timeout(quiet, self.stream.read_buf(&mut self.unread)).await {}
        std::mem::take(&mut self.unread)
    }
}
