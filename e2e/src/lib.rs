//! What whole-system tests share: private services, the binary under test, clients.
