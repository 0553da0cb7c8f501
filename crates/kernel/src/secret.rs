//! [`Secret`]: the only type that holds keys and tokens. `Debug`, `Display` and serialisation give `[redacted]`; the
//! memory is wiped on drop. Payload text has no type with `Debug` at all.

use std::fmt;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// What is printed and serialised in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A secret string, wiped on drop and printed as `[redacted]`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself. Call this where the secret is used, and keep no copy.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the secret is the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = String::deserialize(deserializer).map(Self::new)?;
        // A printed configuration would otherwise be valid, and `[redacted]` would be sent as a credential.
        if secret.expose().trim() == REDACTED {
            return Err(D::Error::custom(
                "`[redacted]` is what `print-config` writes in place of a secret: put `${env:NAME}` or `${file:PATH}` back",
            ));
        }
        Ok(secret)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "a secret; printed as [redacted]" })
    }
}
