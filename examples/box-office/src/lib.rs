//! The box office and the bank.
