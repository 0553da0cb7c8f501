//! [`Tasks`]: the only place that spawns tasks and threads, so that a shutdown knows and waits for all of them. Every
//! task and thread has a name; a panic is caught, counted and logged under that name, without its message.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use kernel::clock::SystemClock;
use kernel::rng::SystemRng;
use net::{ProxyRules, SharedServices, Spawn};
use pipeline::inquiry::ErrandRunner;
use pipeline::offload::Offload;
use telemetry::{Meter, names};

/// Threads for blocking and CPU-bound work handed off by sockets and outlets.
const BLOCKING_THREADS: usize = 16;

/// The runtime for all async tasks.
///
/// # Errors
/// The operating system can't start threads.
pub fn build_runtime(threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("tollgate-io")
        .enable_all()
        .build()
}

/// Runs `work`, then ends the runtime. A thread that hangs in the operating system (on a lost volume) delays the exit
/// by `grace` at most.
pub fn run_to_end<T>(runtime: Runtime, grace: Duration, work: impl Future<Output = T>) -> T {
    let output = runtime.block_on(work);
    runtime.shutdown_timeout(grace);
    output
}

/// The services of a command that runs no gateway: this machine's clock and randomness, and metrics that nobody reads.
/// Call it in a runtime, or the tasks start on that of their caller.
pub fn command_services(proxies: ProxyRules) -> SharedServices {
    let meter = Meter::new();
    SharedServices {
        tasks: Tasks::new(&meter),
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SystemRng),
        meter,
        proxies: Arc::new(proxies),
    }
}

/// Spawns tasks and threads, and counts those still running. Create it within a runtime to use it from any thread.
pub struct Tasks {
    all: TaskGroup,
    /// The runtime to spawn on; worker threads have no current one.
    runtime: Option<Handle>,
    meter: Meter,
}

/// Counts related tasks until they have ended.
pub struct TaskGroup(watch::Sender<usize>);

/// A running member of a [`TaskGroup`]; dropping it ends the membership.
pub struct TaskMember(watch::Sender<usize>);

impl TaskGroup {
    /// A group without members.
    #[expect(clippy::new_without_default, reason = "an empty group is made on purpose")]
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Adds a member until the returned value is dropped.
    pub fn add_member(&self) -> TaskMember {
        self.0.send_modify(|open| *open += 1);
        TaskMember(self.0.clone())
    }

    /// Waits until no member is left, for at most `grace`. Returns false if some are left.
    pub async fn wait_until_empty(&self, grace: Duration) -> bool {
        let mut open = self.0.subscribe();
        let empty = open.wait_for(|open| *open == 0);
        tokio::time::timeout(grace, empty).await.is_ok_and(|ended| ended.is_ok())
    }

    /// Number of running members.
    pub fn len(&self) -> usize {
        *self.0.borrow()
    }

    /// Whether no member is running.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for TaskMember {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Tasks {
    /// A spawner without tasks.
    pub fn new(meter: &Meter) -> Arc<Self> {
        Arc::new(Self { all: TaskGroup::new(), runtime: Handle::try_current().ok(), meter: meter.clone() })
    }

    /// All tasks that have not ended.
    pub fn all(&self) -> &TaskGroup {
        &self.all
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// The operating system can't start it.
    pub fn spawn_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let meter = self.meter.clone();
        std::thread::Builder::new().name(format!("tollgate-{name}")).spawn(move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                report_panic(&meter, name);
            }
        })
    }
}

impl Spawn for Tasks {
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let (member, meter) = (self.all.add_member(), self.meter.clone());
        let task = async move {
            let _member = member;
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                report_panic(&meter, name);
            }
        };
        drop(match &self.runtime {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        });
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
    fn spawn_blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send + 'static>) {
        let (member, meter) = (self.all.add_member(), self.meter.clone());
        let work = move || {
            let _member = member;
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                report_panic(&meter, name);
            }
        };
        drop(match &self.runtime {
            Some(runtime) => runtime.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        });
    }
}

impl Offload for Tasks {
    fn offload(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) {
        self.spawn_blocking(name, work);
    }
}

impl ErrandRunner for Tasks {
    fn run(&self, name: &'static str, errand: BoxFuture<'static, ()>) {
        self.spawn(name, errand);
    }
}

fn report_panic(meter: &Meter, name: &'static str) {
    meter.counter(&names::PANICS, &[("place", name)]).increment(1);
    tracing::error!(task = name, "a task panicked");
}
