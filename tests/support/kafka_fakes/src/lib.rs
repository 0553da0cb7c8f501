//! Kafka for tests: a broker in memory, and a machine in simulated time on which the tasks of several processes run.
//! Invariants: a dev-dependency only, for the components that read or write Kafka and for the fleet simulation.
//! Neighbours: `fakes` (servers over real sockets), `tests/peers` (a real broker).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]
#![allow(missing_docs, reason = "test support")]

mod memory_broker;
mod simulated_machine;

pub use memory_broker::MemoryBroker;
pub use simulated_machine::{ProcessTasks, SimulatedMachine};
