//! [`with_defaults!`](crate::with_defaults!): a struct whose defaults are written at its fields.

/// Defines a struct and its `Default`: `pub port: u16 = 4317`. A field without a value gets the default of its type.
#[macro_export]
macro_rules! with_defaults {
    (@value) => { Default::default() };
    (@value $default:expr) => { $default };
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(= $default:expr)?,)*
    }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::with_defaults!(@value $($default)?),)* }
            }
        }
    };
}
