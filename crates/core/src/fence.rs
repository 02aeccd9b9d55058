//! The fence: the random id of one attempt, without which nothing may be written about it.
//!
//! It is random and not a counter on the row, so that a row that expired and was made again can never meet a
//! holder from its earlier life.

use std::{cell::RefCell, fmt};

/// How many fences' randomness is asked of the operating system at once.
const DRAWN_AT_ONCE: usize = 32;

/// The random 128-bit id of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence([u8; 16]);

impl Fence {
    /// Draws a new fence from the operating system's randomness.
    ///
    /// # Panics
    /// Where the operating system has no randomness: nothing can be promised then.
    #[must_use]
    pub fn random() -> Self {
        // Drawn for many fences at once: asking the kernel costs about as much for one.
        thread_local!(static DRAWN: RefCell<(usize, [u8; 16 * DRAWN_AT_ONCE])> =
            const { RefCell::new((DRAWN_AT_ONCE, [0; 16 * DRAWN_AT_ONCE])) });
        DRAWN.with_borrow_mut(|(used, drawn)| {
            if *used == DRAWN_AT_ONCE {
                getrandom::fill(drawn).expect("the operating system gives random bytes");
                *used = 0;
            }
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&drawn[*used * 16..(*used + 1) * 16]);
            *used += 1;
            Self(bytes)
        })
    }

    /// The fence with these bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a store keeps them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fence({self})")
    }
}
