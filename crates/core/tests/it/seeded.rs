//! Random tests whose seed is printed when they fail, and taken from `STEADFAST_SEED` to see it again.

use std::hash::{BuildHasher, Hasher};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

/// Tries `cases` random values. A failure is shrunk, and told together with the seed.
pub(crate) fn check<S: Strategy>(cases: u32, values: &S, test: impl Fn(S::Value)) {
    let seed = match std::env::var("STEADFAST_SEED") {
        Ok(text) => text.parse().expect("STEADFAST_SEED is a number"),
        Err(_) => std::hash::RandomState::new().build_hasher().finish(),
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(values, |value| {
        test(value);
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = outcome {
        panic!("STEADFAST_SEED={seed}: {error}");
    }
}
