//! How many nodes share the limits: each says that it lives, in the shared store, and counts those that said so lately.

use std::time::Duration;

use redis::{RedisResult, Script};

use crate::{connection::Connection, slot::Group};

/// How often a node says that it lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a node counts after it last said so.
pub(crate) const COUNTS_FOR: Duration = Duration::from_secs(10);

/// Notes a node's heartbeat on the server's clock, forgets the silent, and counts. With nothing as the third argument
/// the node leaves.
const TEXT: &str = "
if redis.replicate_commands then redis.replicate_commands() end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local counts_for = tonumber(ARGV[2])
if ARGV[3] == 'leave' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - counts_for)
redis.call('PEXPIRE', KEYS[1], counts_for)
return redis.call('ZCARD', KEYS[1])
";

/// This node, among those that share the store.
pub(crate) struct Node {
    name: String,
    script: Script,
    key: Vec<u8>,
}

impl Node {
    /// A node by a name of its own, for as long as this process lives.
    pub(crate) fn new() -> Self {
        let name = format!("{:032x}", fastrand::u128(..));
        let key = Group::all().next().expect("there are groups").named(b"nodes");
        Self { name, script: Script::new(TEXT), key }
    }

    /// Says that it lives. How many do is returned, it among them.
    pub(crate) async fn beat(&self, connection: &mut Connection) -> RedisResult<u64> {
        self.call(connection, "beat").await
    }

    /// Says that it leaves.
    pub(crate) async fn leave(&self, connection: &mut Connection) -> RedisResult<u64> {
        self.call(connection, "leave").await
    }

    async fn call(&self, connection: &mut Connection, what: &str) -> RedisResult<u64> {
        let counts_for = COUNTS_FOR.as_millis().to_string();
        let arguments = [self.name.as_bytes(), counts_for.as_bytes(), what.as_bytes()];
        connection.run(&self.script, TEXT, std::slice::from_ref(&self.key), &arguments).await
    }
}
