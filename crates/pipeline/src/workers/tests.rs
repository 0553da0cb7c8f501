use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A full or closed queue must refuse, and accepted jobs must be run before the worker ends, also after one that
/// panics.
#[test]
fn the_queue_is_bounded_and_drained() {
    let (queue, done) = (JobQueue::new(3), Arc::new(AtomicUsize::new(0)));
    let job = || -> Job {
        let done = Arc::clone(&done);
        Box::new(move || {
            done.fetch_add(1, Ordering::SeqCst);
        })
    };
    assert!(queue.submit(Box::new(|| panic!("a job"))) && queue.submit(job()) && queue.submit(job()));
    assert!(!queue.submit(job()), "full");
    queue.close();
    assert!(!queue.submit(job()), "closed");
    queue.run_jobs();
    assert_eq!((done.load(Ordering::SeqCst), queue.waiting_jobs()), (2, 0));
}
