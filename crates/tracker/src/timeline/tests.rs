//! Regression tests: the timeline gives the answers of a linear search, in logarithmic time.

use std::cell::Cell;

use super::Timeline;

thread_local! {
    /// Steps of searches on this thread.
    pub(in crate) static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Number of steps that `what` takes.
pub(crate) fn steps(what: impl FnOnce()) -> u64 {
    let before = STEPS.with(Cell::get);
    what();
    STEPS.with(Cell::get) - before
}

/// The same answers as a linear search.
#[test]
fn as_a_look_at_each() {
    let mut seed = 1_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for count in 0..40_u64 {
        let mut runs: Vec<(u64, u64, usize)> = (0..count)
            .map(|run| {
                let begin = next(30);
                (begin, begin + next(12), run as usize)
            })
            .collect();
        runs.sort_unstable();
        let timeline = Timeline::build(&runs);
        for at in 0..45 {
            let begun = runs.iter().rfind(|(begin, ..)| *begin <= at).map(|(.., run)| *run);
            let under_way = runs.iter().rfind(|(begin, end, _)| *begin <= at && at <= *end).map(|(.., run)| *run);
            assert_eq!(
                (timeline.latest_begun(at), timeline.latest_under_way(at)),
                (begun, under_way),
                "{count} runs at {at}"
            );
        }
        assert_eq!(timeline.first_run(), runs.first().map(|(.., run)| *run));
        assert_eq!(timeline.only_run(), if count == 1 { Some(0) } else { None });
    }
}

/// Runs that were all over long before: the worst case of a backwards search.
#[test]
fn a_question_takes_few_steps() {
    let runs: Vec<(u64, u64, usize)> = (0..100_000).map(|run| (run, run + 1, run as usize)).collect();
    let timeline = Timeline::build(&runs);
    let taken = steps(|| {
        assert_eq!(timeline.latest_under_way(200_000), None);
        assert_eq!(timeline.latest_under_way(50_000), Some(50_000));
    });
    assert!(taken < 200, "{taken}");
}
