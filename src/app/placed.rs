//! **What**: [`Placed`]: a component with its id in the file.

use config::ComponentId;

/// A component with its place in the file.
#[derive(Clone)]
pub struct Placed<T> {
    /// Its id.
    pub id: ComponentId,
    /// What it is.
    pub what: T,
}
