//! [`Walk`]: one batch on its way through the tree of a route. A walk can be suspended before a step that asks a
//! question outside, and resumes at that step.
//! Each step runs once, in order; branches run one after the other. A payload is cloned only when its branch begins.
//! Panics and poison items are handled in `worker`.

use std::sync::Arc;

use crate::batch::Batch;
use crate::inquiry::{Answer, Inquiry};

use super::{Failure, Product, Route, fork_of};

/// See the module.
pub struct Walk {
    /// Path from the root of the tree to the part that is being processed.
    legs: Vec<Leg>,
    product: Product,
}

/// A batch in one part of the tree.
struct Leg {
    route: Arc<Route>,
    /// `None`: the batch was moved into the last branch.
    batch: Option<Batch>,
    /// Index of the next step.
    step: usize,
    /// The next step has asked its question.
    asked: bool,
    /// The steps are done, and their results are in the product.
    ended: bool,
    /// Index of the next branch.
    fork: usize,
}

impl Walk {
    /// A walk before the first step of `route`.
    pub fn begin(route: &Arc<Route>, batch: Batch) -> Self {
        Self { legs: vec![Leg::new(route, batch)], product: Product::default() }
    }

    /// Runs steps until one of them asks a question, or to the end (`None`). If `ask` is false, no step is asked for a
    /// question.
    ///
    /// # Errors
    /// The whole batch is then kept back, and the walk must be dropped.
    pub fn go(&mut self, ask: bool) -> Result<Option<Inquiry>, Failure> {
        while let Some(leg) = self.legs.last_mut() {
            if let Some(inquiry) = leg.steps(ask)? {
                return Ok(Some(inquiry));
            }
            leg.end(&mut self.product)?;
            match leg.next_fork() {
                Some(next) => self.legs.push(next),
                None => drop(self.legs.pop()),
            }
        }
        Ok(None)
    }

    /// Stores the answer for the step that asked.
    pub fn answer(&mut self, answer: Answer) {
        if let Some(batch) = self.legs.last_mut().and_then(|leg| leg.batch.as_mut()) {
            batch.answer = Some(answer);
        }
    }

    /// The result, once the walk is complete.
    pub fn product(self) -> Product {
        self.product
    }

    /// Runs all steps without questions.
    ///
    /// # Errors
    /// As [`Walk::go`].
    pub fn to_end(mut self) -> Result<Product, Failure> {
        self.go(false)?;
        Ok(self.product)
    }
}

impl Leg {
    fn new(route: &Arc<Route>, batch: Batch) -> Self {
        Self { route: Arc::clone(route), batch: Some(batch), step: 0, asked: false, ended: false, fork: 0 }
    }

    fn steps(&mut self, ask: bool) -> Result<Option<Inquiry>, Failure> {
        let Some(batch) = &mut self.batch else { return Ok(None) };
        while let Some(step) = self.route.steps.get(self.step) {
            if ask
                && !std::mem::replace(&mut self.asked, true)
                && let Some(inquiry) = step.processor.inquire(batch)
            {
                return Ok(Some(inquiry));
            }
            step.process(batch).map_err(Failure::Kept)?;
            batch.answer = None;
            (self.step, self.asked) = (self.step + 1, false);
        }
        Ok(None)
    }

    fn end(&mut self, product: &mut Product) -> Result<(), Failure> {
        let Some(batch) = &mut self.batch else { return Ok(()) };
        if !std::mem::replace(&mut self.ended, true) {
            product.effects.append(&mut batch.effects);
            product.drafts.append(&mut batch.drafts);
            self.route.ends.iter().try_for_each(|end| end.encode(batch, product))?;
        }
        Ok(())
    }

    /// The walk through the next branch; the last branch takes the batch without cloning it.
    fn next_fork(&mut self) -> Option<Self> {
        let fork = self.route.forks.get(self.fork)?;
        self.fork += 1;
        let batch = match self.route.forks.len() == self.fork {
            true => self.batch.take()?,
            false => fork_of(self.batch.as_ref()?),
        };
        Some(Self::new(fork, batch))
    }
}
