//! [`ReceiverOpenError`]: why a receiver's ports or files can't be used.

use super::auth::TokensError;
use net::{BindError, TlsError};

/// Why a receiver can't be opened, or its files can't be read again.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReceiverOpenError {
    /// The tokens file can't be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// A TLS file of a port can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Port(#[from] BindError),
}
