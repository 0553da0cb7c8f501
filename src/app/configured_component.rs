//! [`ConfiguredComponent`]: a configured component with its id.

use config::ComponentId;

/// A component's configuration or settings with its id.
#[derive(Clone)]
pub struct ConfiguredComponent<T> {
    pub id: ComponentId,
    /// The configuration or settings.
    pub value: T,
}
