//! [`Workers`]: runs CPU work (parsing, scanning, sealing), so that it does not block the tasks that own sockets.
//! [`JobQueue`] is a bounded queue for threads; [`InlineWorkers`] lets a simulation run everything on one thread. This
//! module starts no thread: `crates/command/src/tasks.rs` does, and calls [`JobQueue::run_jobs`]. A full queue refuses
//! jobs, an accepted job is always run, and a job that panics ends neither the thread nor the process. The jobs are in
//! `worker`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::{Condvar, Mutex};

#[cfg(test)]
mod tests;

/// A piece of CPU work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs CPU work.
pub trait Workers: Send + Sync {
    /// Takes the job, or returns false because too many jobs wait or the workers have ended. A refused job is dropped.
    fn submit(&self, job: Job) -> bool;
    /// Number of waiting jobs.
    fn waiting_jobs(&self) -> usize;
}

/// Runs each job at once on the calling thread.
pub struct InlineWorkers;

impl Workers for InlineWorkers {
    fn submit(&self, job: Job) -> bool {
        job();
        true
    }

    fn waiting_jobs(&self) -> usize {
        0
    }
}

/// A bounded queue of jobs.
pub struct JobQueue {
    capacity: usize,
    state: Mutex<JobQueueState>,
    changed: Condvar,
}

struct JobQueueState {
    jobs: VecDeque<Job>,
    is_open: bool,
}

impl JobQueue {
    /// A queue in which at most `capacity` jobs wait.
    pub fn new(capacity: usize) -> Self {
        let state = JobQueueState { jobs: VecDeque::new(), is_open: true };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Main loop of a worker thread: runs jobs until the queue is closed and empty.
    pub fn run_jobs(&self) {
        while let Some(job) = self.take_job() {
            // The job itself reports failures of processors; this catches everything else.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// Refuses further jobs; waiting jobs are still run.
    pub fn close(&self) {
        self.state.lock().is_open = false;
        self.changed.notify_all();
    }

    /// Waits for the next job. `None`: the queue is closed and empty.
    fn take_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if !state.is_open {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }
}

impl Workers for JobQueue {
    fn submit(&self, job: Job) -> bool {
        let mut state = self.state.lock();
        if !state.is_open || state.jobs.len() >= self.capacity {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        true
    }

    fn waiting_jobs(&self) -> usize {
        self.state.lock().jobs.len()
    }
}
