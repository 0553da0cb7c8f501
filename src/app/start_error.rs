//! [`StartError`]: why a gateway did not start, and the exit code for it.

use command::error::CommandError;
use command::keyfile::KeyFileError;
use exporters::spec::BuildError;
use net::{BindError, ProxyError, TlsError};
use receivers::ReceiverOpenError;
use vault::store::spec::StoreUnusable;

/// Why a gateway did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StartError {
    /// The message, one line.
    pub text: String,
    /// Determines the exit code, and whether a retry makes sense.
    pub fault: StartFault,
}

/// What has to change before the gateway can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFault {
    /// The machine or a remote service failed; a later start may succeed.
    Machine,
    /// A listener could not be opened, mostly because its port is taken.
    Port,
    /// The configuration is wrong; every start fails until it is changed.
    Configuration,
}

impl StartError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), fault: StartFault::Machine }
    }

    pub(super) fn config(text: impl Into<String>) -> Self {
        Self { text: text.into(), fault: StartFault::Configuration }
    }

    pub(super) fn with_fault(self, fault: StartFault) -> Self {
        Self { fault, ..self }
    }

    /// Prefixes the message with the place it is about.
    pub(super) fn with_place(self, place: impl std::fmt::Display) -> Self {
        Self { text: format!("{place}: {}", self.text), ..self }
    }
}

macro_rules! from {
    ($($error:ty),*) => {$(
        impl From<$error> for StartError {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        }
    )*};
}

from!(BindError, BuildError, KeyFileError, ReceiverOpenError, ProxyError, StoreUnusable, TlsError);

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        let kind = if error.fault == StartFault::Configuration { Self::Config } else { Self::Failed };
        kind(error.text)
    }
}
