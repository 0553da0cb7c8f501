//! [`word_enum!`](crate::word_enum!): an enum with a fixed string for each variant, for files, metric labels and JSON.

/// Defines an enum from its variants and their strings.
#[macro_export]
macro_rules! word_enum {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$each])* $variant,)* }

        #[allow(dead_code, reason = "some enums are only written, others only read")]
        impl $name {
            /// All values.
            $vis const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value's word.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value of a word.
            $vis fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}
