//! Random numbers that nobody needs to be unable to guess: for ids that are only unique, and for pauses.

use std::cell::Cell;

/// The next number of this thread's generator (SplitMix64, seeded once by the operating system).
pub(crate) fn next_random() -> u64 {
    thread_local!(static STATE: Cell<u64> = {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        Cell::new(u64::from_le_bytes(seed))
    });
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut mixed = next;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}
