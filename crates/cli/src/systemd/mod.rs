//! What systemd, or another service manager that speaks as it does, hands over and wants to be told.

pub(crate) mod notify;
pub(crate) mod sockets;
