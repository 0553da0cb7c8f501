//! The keys that the receiver and the exporter `kafka` have in common. serde can't flatten a struct where unknown keys
//! are refused.

/// Declares the configuration of a component that uses brokers: the keys of the connection, and those of its own.
#[macro_export]
macro_rules! with_broker_keys {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        ::kernel::with_defaults! {
            $(#[$meta])*
            pub struct $name {
                /// The brokers to ask first, each `host:port`.
                pub brokers: Vec<String>,
                /// The name that brokers log for this client. Default: `tollgate`.
                pub client_id: String = "tollgate".to_owned(),
                /// TLS of the connections; `{}` for the system's certificates. Without this key they are plain text.
                pub tls: Option<$crate::KafkaTlsConfig>,
                /// Credentials.
                pub auth: $crate::AuthConfig,
                $($own)*
            }
        }
    };
}
