//! **What**: [`OpenError`]: why a receiver's ports or files can't be used.

use super::auth::TokensError;
use net::{BindError, TlsError};

/// Why a receiver can't be opened, or its files can't be read again.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The tokens file.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// A file of a port's TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port.
    #[error(transparent)]
    Port(#[from] BindError),
}
