//! What every command of tollgate shares: exit codes and errors, output, times on the command line, the runtime and its
//! tasks, key files, the client of the admin port, and the settings of the process. It knows no component and no
//! configuration. Neighbours: `audit` and the root package have the commands.

pub mod admin_client;
pub mod error;
pub mod keyfile;
pub mod os;
pub mod output;
pub mod runtime;
pub mod tasks;
pub mod time_option;
