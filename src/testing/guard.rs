//! **What**: [`ends`]: work that must end. **Why**: quadratic work on a large text does not end for minutes; how long it
//! takes otherwise is the machine's affair. **Not here**: timing (`benches/`).

use std::sync::mpsc::channel;
use std::time::Duration;

/// What `work` gives. Panics if it gives nothing for five minutes, which is no measure of speed: it only keeps a test
/// run from hanging.
#[expect(clippy::disallowed_methods, reason = "a thread that can be left behind")]
pub fn ends<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (give, take) = channel();
    std::thread::spawn(move || give.send(work()));
    take.recv_timeout(Duration::from_secs(300)).unwrap_or_else(|_| panic!("{name}: no end, or a panic"))
}
