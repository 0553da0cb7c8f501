//! [`SimulatedMachine`]: the tasks of several processes on one thread and in simulated time; [`ProcessTasks`] ends
//! those of one process at once, as SIGKILL does.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;

use kernel::clock::{ManualClock, UnixNanos};
use net::Spawn;
use pipeline::testing::drive::drive;

/// Longest test, in simulated time.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// The simulated machine: its clock, and the tasks of all processes.
#[derive(Clone)]
pub struct SimulatedMachine {
    pub clock: Arc<ManualClock>,
    new_tasks: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl SimulatedMachine {
    /// Runs `test` and all tasks in simulated time, which begins at `now`.
    pub fn run<T>(now: UnixNanos, test: impl AsyncFnOnce(Self) -> T) -> T {
        let machine = Self { clock: ManualClock::at(now), new_tasks: Arc::default() };
        let (mut running, new_tasks) = (FuturesUnordered::new(), Arc::clone(&machine.new_tasks));
        let tasks = std::future::poll_fn(move |context| {
            loop {
                running.extend(new_tasks.lock().drain(..));
                let has_ended = matches!(running.poll_next_unpin(context), Poll::Ready(Some(())));
                // A task that another one has just spawned begins now, not with the next timer.
                if !has_ended && new_tasks.lock().is_empty() {
                    return Poll::<T>::Pending;
                }
            }
        });
        let clock = Arc::clone(&machine.clock);
        let both = select(Box::pin(test(machine)), tasks);
        let (Either::Left((value, _)) | Either::Right((value, _))) =
            drive(&clock, MAX_TIME, both, || false).expect("it ends");
        value
    }

    /// Waits in simulated time until `done`.
    ///
    /// # Panics
    /// It takes more than 200 seconds.
    pub async fn until(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..20_000 {
            if done() {
                return;
            }
            kernel::clock::Clock::sleep(&*self.clock, Duration::from_millis(10)).await;
        }
        panic!("never: {what}");
    }
}

pub struct ProcessTasks {
    machine: SimulatedMachine,
    started: Mutex<Vec<AbortHandle>>,
}

impl ProcessTasks {
    pub fn new(machine: &SimulatedMachine) -> Self {
        Self { machine: machine.clone(), started: Mutex::default() }
    }

    /// Nothing that was under way goes on.
    pub fn kill(&self) {
        self.started.lock().iter().for_each(AbortHandle::abort);
    }
}

impl Spawn for ProcessTasks {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        let (handle, registration) = AbortHandle::new_pair();
        self.started.lock().push(handle);
        let task = Abortable::new(task, registration);
        self.machine.new_tasks.lock().push(Box::pin(async { task.await.unwrap_or_default() }));
    }

    fn spawn_blocking(&self, _: &'static str, work: Box<dyn FnOnce() + Send + 'static>) {
        work();
    }
}
