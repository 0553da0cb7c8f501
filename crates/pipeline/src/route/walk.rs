//! **What**: [`Walk`]: one batch on its way through the tree of a route. **Why**: a step may have to ask somebody
//! outside; the walk is put aside meanwhile and goes on where it stood. **Invariants**: steps run once each, in order,
//! forks one after the other; a payload is cloned when its fork begins, not before. **Not here**: panics and poison
//! (`worker`).

use std::sync::Arc;

use crate::batch::Batch;
use crate::inquiry::{Answer, Inquiry};

use super::{Failure, Product, Route, fork_of};

/// See the module.
pub struct Walk {
    /// The part of the tree that is walked, below those that lead to it.
    legs: Vec<Leg>,
    product: Product,
}

/// A batch in one part of the tree.
struct Leg {
    route: Arc<Route>,
    /// None: the last fork has it.
    batch: Option<Batch>,
    /// The next step.
    step: usize,
    /// That step has asked.
    asked: bool,
    /// The steps are done, what the batch became is in the product.
    ended: bool,
    /// The next fork.
    fork: usize,
}

impl Walk {
    /// A batch before the first step of `route`.
    pub fn begin(route: &Arc<Route>, batch: Batch) -> Self {
        Self { legs: vec![Leg::new(route, batch)], product: Product::default() }
    }

    /// Goes on until a step asks, or to the end (`None`). With `ask` false no step does.
    ///
    /// # Errors
    /// The whole batch is then kept back, and the walk is to be dropped.
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

    /// Hands the step that asked its answer.
    pub fn answer(&mut self, answer: Answer) {
        if let Some(batch) = self.legs.last_mut().and_then(|leg| leg.batch.as_mut()) {
            batch.answer = Some(answer);
        }
    }

    /// What the batch became, once the walk has come to its end.
    pub fn product(self) -> Product {
        self.product
    }

    /// The whole way without a question.
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

    /// The next fork's leg; the last one takes the batch along.
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
