//! Random sessions with known totals. The API's JSON, `/metrics`, OTLP metrics, page, report, run summaries, session
//! rows and alerts must equal them and each other, at any moment and in the end, whatever the order of delivery,
//! pauses, wrong clocks, a restart or a kill. `TOLLGATE_SEED=n` runs that seed, `TOLLGATE_SEEDS=n` that many (from
//! that seed). A failure prints the first difference and the smallest session that still shows it.

mod make;
pub(super) mod read;
mod surfaces;
mod way;

use make::{ALL, Feature, LATER, sessions};

#[expect(clippy::disallowed_methods, reason = "a switch of this test, not of the product")]
fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The differences of a seed, if there are any.
fn differs(seed: u64, on: &[Feature], most: u64) -> Option<(usize, Vec<String>)> {
    let items = sessions(seed, on, most);
    let found = way::deliver(&items, seed, on);
    (!found.is_empty()).then_some((items.len(), found))
}

/// The same failure with fewer features and fewer spans.
fn smallest(seed: u64, on: &[Feature], most: u64) -> String {
    let (mut on, mut most) = (on.to_vec(), most);
    for &feature in ALL {
        let fewer: Vec<Feature> = on.iter().copied().filter(|one| *one != feature).collect();
        if differs(seed, &fewer, most).is_some() {
            on = fewer;
        }
    }
    let mut best = (usize::MAX, seed, Vec::new());
    for most_now in (1..=8).rev() {
        for other in std::iter::once(seed).chain(seed + 1..seed + 40) {
            if let Some((spans, found)) = differs(other, &on, most_now)
                && spans < best.0
            {
                (best, most) = ((spans, other, found), most_now);
            }
        }
    }
    let lines: Vec<String> = sessions(best.1, &on, most).iter().map(|item| item.json.to_string()).collect();
    format!("{on:?}, seed {} of at most {most} steps:\n  {}\n{}", best.1, best.2.join("\n  "), lines.join("\n"))
}

/// Seeds that once failed; a comment gives the reason for the seeds after it. A change of the generator's draws
/// changes their sessions.
const FOUND: &[u64] = &[
    // a sub-agent failed after its session's end: sums counted its run as failed, the page did not
    4293, 25427, 32652, // the same after the run was over
    7386, 7475, // a sub-agent whose clock was a second ahead was taken for its run's root
    58843,
];

/// Number of seeds in each of the two tests, which run in parallel on two cores.
const HALF: u64 = 300;

/// Every surface shows the truth of every session.
#[test]
fn every_surface_tells_the_truth() {
    let (first, count) = match (from_env("TOLLGATE_SEED"), from_env("TOLLGATE_SEEDS")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, count) => (1, count.unwrap_or(HALF)),
    };
    tells_the_truth(first, count, ALL);
}

/// The same with other sessions, after those that once failed.
#[test]
fn every_surface_tells_the_truth_too() {
    let earlier: Vec<Feature> = ALL.iter().copied().filter(|feature| !LATER.contains(feature)).collect();
    FOUND.iter().for_each(|seed| tells_the_truth(*seed, 1, &earlier));
    tells_the_truth(1 + HALF, HALF, ALL);
}

#[expect(clippy::print_stderr, reason = "the smallest session takes a while to find")]
fn tells_the_truth(first: u64, count: u64, on: &[Feature]) {
    // keeps the shared price table alive, so that it is parsed once
    let _prices = way::open();
    for seed in first..first + count {
        let most = 1 + seed % 8;
        if let Some((_, found)) = differs(seed, on, most) {
            eprintln!("TOLLGATE_SEED={seed}:\n  {}", found.join("\n  "));
            panic!("run again with TOLLGATE_SEED={seed}; smallest: {}", smallest(seed, on, most));
        }
    }
}
