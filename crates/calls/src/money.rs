//! [`Money`]: an exact amount in its parts.

use serde::{Deserialize, Serialize};

/// An amount in its parts, each in 1e-18 USD: input, output, cache reads, cache writes, fees. Negative in a correction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money(pub [i128; 5]);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self([0; 5]);

    /// The sum of the parts.
    pub fn total(self) -> i128 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// Both amounts together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.combine(other, i128::saturating_add)
    }

    /// This amount without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.combine(other, i128::saturating_sub)
    }

    /// Whether no part has an amount.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    fn combine(self, other: Self, op: fn(i128, i128) -> i128) -> Self {
        let (mut parts, others) = (self.0, other.0);
        parts.iter_mut().zip(others).for_each(|(part, other)| *part = op(*part, other));
        Self(parts)
    }
}
