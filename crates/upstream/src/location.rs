//! One place where an upstream is: what its URL says, and which of the addresses that its name stands for.

use std::{fmt, net::SocketAddr};

use crate::Address;

/// One place where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its URL: scheme, name and path of what is asked for.
    pub address: Address,
    /// Where that name was found to be. Unless stated, the system is asked each time a connection is made.
    pub socket: Option<SocketAddr>,
}

impl From<Address> for Location {
    fn from(address: Address) -> Self {
        Self { address, socket: None }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket {
            Some(socket) => write!(formatter, "{} at {socket}", self.address),
            None => self.address.fmt(formatter),
        }
    }
}
