//! **What**: a running gateway: [`App::start`], [`App::wait`], shutdown. **Why**: the order of start and stop is
//! decided in one place. **Invariants**: nothing is admitted before the state is rebuilt; nothing is bound before
//! everything that can fail was built; at the end requests in hand are answered, then workers end, then outlets get a
//! deadline, then state is saved and the spool closed; what is left stays in the spool. A spool that can't be written
//! ends the process with an error. **Not here**: configuration (`config/`), the engine (`pipeline/`), components.

pub mod assemble;
pub mod build;
mod collector;
mod connect;
pub mod defaults;
pub mod destinations;
pub mod dry;
pub(crate) mod erasures;
pub mod exporters;
mod extensions;
mod humans;
pub mod keyfile;
pub mod keys;
mod life;
mod limiter;
mod limits;
pub mod listeners;
pub mod memory;
mod notify;
pub mod outside;
pub mod own;
mod past;
mod placed;
mod ports;
pub mod process;
mod processors;
mod rates;
pub mod rehearse;
mod remember;
pub mod resolve;
mod running;
mod seams;
mod shutdown;
mod start_error;
mod strangers;
mod supervise;
mod tap;
pub mod tasks;
#[cfg(test)]
mod tests;
mod valid;
mod vaults;
pub mod volume;

pub use self::life::Life;
pub use self::running::App;
pub use self::shutdown::Ended;
pub use self::start_error::{Fault, StartError};
