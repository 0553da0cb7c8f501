//! **What**: [`Workers`]: where CPU work runs: a bounded queue served by threads, or inline. **Why**: parsing, scanning
//! and sealing must not stall the tasks that own sockets; a simulation needs it all on one thread.
//! **Invariants**: makes no thread (`app/tasks` does, and calls [`Queue::serve`]); a full queue refuses; jobs that were
//! taken are finished before `serve` ends; a job's panic ends neither thread nor process.
//! **Not here**: what a job does (`worker`).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::{Condvar, Mutex};

#[cfg(test)]
mod tests;

/// A piece of CPU work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Where CPU work runs.
pub trait Workers: Send + Sync {
    /// Takes the job, or refuses it because too many wait or the workers have ended. A refused job is dropped.
    fn submit(&self, job: Job) -> bool;
    /// Jobs that wait.
    fn waiting(&self) -> usize;
}

/// Runs each job at once on the calling thread.
pub struct Inline;

impl Workers for Inline {
    fn submit(&self, job: Job) -> bool {
        job();
        true
    }

    fn waiting(&self) -> usize {
        0
    }
}

/// A bounded queue of jobs.
pub struct Queue {
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    open: bool,
}

impl Queue {
    /// A queue in which at most `capacity` jobs wait.
    pub fn new(capacity: usize) -> Self {
        let state = State { jobs: VecDeque::new(), open: true };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A worker thread's life: runs jobs until the queue is closed and empty.
    pub fn serve(&self) {
        while let Some(job) = self.next() {
            // The job itself reports failures of processors; this is the net below it.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// Takes no more jobs; what waits is still done.
    pub fn close(&self) {
        self.state.lock().open = false;
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if !state.open {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }
}

impl Workers for Queue {
    fn submit(&self, job: Job) -> bool {
        let mut state = self.state.lock();
        if !state.open || state.jobs.len() >= self.capacity {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        true
    }

    fn waiting(&self) -> usize {
        self.state.lock().jobs.len()
    }
}
