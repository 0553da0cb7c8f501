//! A running gateway: [`App::start`], [`App::wait`] and shutdown. Nothing is admitted before state is rebuilt, and no
//! port is bound before everything that can fail was built. At shutdown, open requests are answered, then workers end,
//! then outlets get a deadline, then state is saved and the spool closed; undelivered data stays in the spool. If the
//! spool can't be written, the process ends with an error. Configuration is in the crate `config`, the engine in
//! `pipeline`.

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
