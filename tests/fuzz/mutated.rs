//! The bodies of fuzz targets over mutations of their seeds.

use std::env;
use std::time::Duration;

use jackdaw::time::Moment;

use crate::corpus::Seeds;
use crate::source::Source;

/// Mutations of the seeds, the same ones in every run. `FUZZ_SECONDS=60` goes on for so long.
pub fn mutated(seeds: Seeds, run: impl Fn(&[u8]) -> bool) {
    const ROUNDS: u32 = 20;
    let seconds = env::var("FUZZ_SECONDS").map_or(0, |seconds| seconds.parse().expect("a number"));
    let (begun, mut source) = (Moment::now(), Source::new(5));
    let (mut taken, mut refused) = (0u64, 0u64);
    let mut rounds = 0;
    while rounds < ROUNDS || begun.elapsed() < Duration::from_secs(seconds) {
        rounds += 1;
        for (name, seed) in &seeds {
            let mut data = seed.clone();
            // The first byte chooses what is tried.
            let mut rest = data.split_off(1);
            source.mutate(&mut rest);
            data.extend(rest);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&data)));
            let outcome = outcome.unwrap_or_else(|_| panic!("{name}: {}", data.escape_ascii()));
            if outcome { taken += 1 } else { refused += 1 }
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}
