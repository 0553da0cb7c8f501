use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A full or closed queue must refuse, and accepted jobs must be run before the worker ends.
#[test]
fn the_queue_is_bounded_and_drained() {
    let (queue, done) = (JobQueue::new(2), Arc::new(AtomicUsize::new(0)));
    let job = || -> Job {
        let done = Arc::clone(&done);
        Box::new(move || {
            done.fetch_add(1, Ordering::SeqCst);
        })
    };
    assert!(queue.submit(job()) && queue.submit(job()));
    assert!(!queue.submit(job()), "full");
    queue.close();
    assert!(!queue.submit(job()), "closed");
    queue.run_jobs();
    assert_eq!((done.load(Ordering::SeqCst), queue.waiting_jobs()), (2, 0));
}

/// A job that panics must not take the worker with it.
#[test]
fn a_panic_does_not_end_the_worker() {
    let (queue, done) = (JobQueue::new(2), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&done);
    queue.submit(Box::new(|| panic!("a job")));
    queue.submit(Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    queue.close();
    queue.run_jobs();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

/// Threads that serve one queue must share its work and end with it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the product's threads come from command/tasks")]
fn threads_share_a_queue() {
    let (queue, done) = (Arc::new(JobQueue::new(1000)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || queue.run_jobs())
        })
        .collect();
    for _ in 0..500 {
        let done = Arc::clone(&done);
        assert!(queue.submit(Box::new(move || {
            done.fetch_add(1, Ordering::SeqCst);
        })));
    }
    queue.close();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(done.load(Ordering::SeqCst), 500);
}
