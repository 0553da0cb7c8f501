//! Scalar types of the configuration: sizes and time spans. Each accepts several spellings and prints one. Errors never
//! quote the value, which may be a misplaced secret.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes: `1048576` or `64MiB` (B, KB, MB, GB, KiB, MiB, GiB, TiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

const SIZE_UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
    ("", 1),
];

impl ByteSize {
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Parses the text form; `None` if the text is not a size or exceeds 64 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits_end)?;
        let number: u64 = number.parse().ok()?;
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
        number.checked_mul(*factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{name}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A time span: `30s`, `200ms`, `5m`, `1h30m`, `400d` (ns, us, ms, s, m, h, d).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TimeSpan(pub Duration);

/// From the largest to the smallest, in nanoseconds.
const TIME_UNITS: [(&str, u64); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

impl TimeSpan {
    /// A span of `n` seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// Parses the text form; `None` if the text is not a time span or exceeds 64 bits of nanoseconds.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return None;
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits_end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, tail) = rest.split_at_checked(digits_end)?;
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at_checked(unit_end)?;
            let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
            total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
            rest = tail;
        }
        Some(Self(Duration::from_nanos(total)))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let divides =
            |(_, factor): &&(&str, u64)| nanos >= u128::from(*factor) && nanos.is_multiple_of((*factor).into());
        match TIME_UNITS.iter().find(divides) {
            Some((name, factor)) => write!(f, "{}{name}", nanos / u128::from(*factor)),
            None => f.write_str("0s"),
        }
    }
}

/// A time span that is given in milliseconds if it has no unit, as in the Collector: `60000`, `60s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub Duration);

impl Millis {
    /// Parses a number of milliseconds or a time span with units.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.trim().parse().ok().map(Duration::from_millis);
        number.or_else(|| TimeSpan::parse(text).map(|span| span.0)).map(Self)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TimeSpan(self.0).fmt(f)
    }
}

macro_rules! scalar {
    ($name:ident, $expecting:literal, $number:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Scalar;
                impl Visitor<'_> for Scalar {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).ok_or_else(|| E::custom(concat!("not ", $expecting)))
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        let from_number: fn(u64) -> Option<$name> = $number;
                        from_number(number).ok_or_else(|| E::custom(concat!("not ", $expecting)))
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        u64::try_from(number).map_err(|_| E::custom(concat!("not ", $expecting))).and_then(|n| self.visit_u64(n))
                    }
                }
                deserializer.deserialize_any(Scalar)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": ["string", "integer"], "description": $expecting })
            }
        }
    };
}

scalar!(ByteSize, "a size such as `64MiB` or a number of bytes", |n| Some(ByteSize(n)));
scalar!(TimeSpan, "a time span such as `30s`, `200ms` or `5m`", |n| (n == 0).then_some(TimeSpan(Duration::ZERO)));
scalar!(Millis, "a number of milliseconds, or a time span such as `60s`", |n| Some(Millis(Duration::from_millis(n))));
