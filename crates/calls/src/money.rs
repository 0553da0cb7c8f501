//! [`Money`]: an exact amount in its parts, with what caching saved.

use serde::{Deserialize, Serialize};

/// An amount in its parts, each in 1e-18 USD: input, output, cache reads, cache writes, fees. Negative in a correction.
/// Then, not part of it, what caching saved: so much more the tokens read from a cache, and those written to one, would
/// have cost as uncached input. The stored form has the parts only; see [`listed_savings`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money(pub [i128; 5], #[serde(skip)] pub [i128; 2]);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self([0; 5], [0; 2]);

    /// The sum of the parts.
    pub fn total(self) -> i128 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// What caching saved; negative if writing to a cache cost more than reading from it saved.
    pub fn saved(self) -> i128 {
        self.1[0].saturating_add(self.1[1])
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

    fn combine(mut self, other: Self, op: fn(i128, i128) -> i128) -> Self {
        let others = other.0.into_iter().chain(other.1);
        self.0.iter_mut().chain(&mut self.1).zip(others).for_each(|(part, other)| *part = op(*part, other));
        self
    }
}

/// What caching saved of each amount, for the end of a stored form; empty if that is nothing.
pub fn listed_savings<'m>(amounts: impl Iterator<Item = &'m mut Money>) -> Vec<[i128; 2]> {
    let saved: Vec<[i128; 2]> = amounts.map(|amount| amount.1).collect();
    if saved.iter().all(|saved| *saved == [0; 2]) { Vec::new() } else { saved }
}

/// Sets what caching saved of each amount, from the end of a stored form. Forms from before end without it.
pub fn set_savings<'m>(amounts: impl Iterator<Item = &'m mut Money>, saved: Vec<[i128; 2]>) {
    amounts.zip(saved).for_each(|(amount, saved)| amount.1 = saved);
}
