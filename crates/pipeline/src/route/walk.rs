//! [`RouteExecution`]: the walk of one batch through the tree of a route. The walk is suspended before a step that asks
//! a question outside, and resumes at that step. Each step runs once, in order; branches run one after the other. A
//! payload is cloned only when its branch begins. Panics and poison items are handled in `worker`.

use std::sync::Arc;

use crate::batch::Batch;
use crate::inquiry::{Inquiry, InquiryAnswer};

use super::{BatchProduct, PipelineRoute, RouteFailure, fork_batch};

/// See the module.
pub struct RouteExecution {
    /// The parts of the tree from the root to the one that is being processed.
    branches: Vec<BranchExecution>,
    /// The result, once the walk is complete.
    pub(crate) product: BatchProduct,
}

/// A batch in one part of the tree.
struct BranchExecution {
    route: Arc<PipelineRoute>,
    /// `None`: the batch was moved into the last branch.
    batch: Option<Batch>,
    next_step: usize,
    /// The next step has been asked for a question.
    has_asked: bool,
    /// The steps are done, and their results are in the product.
    is_finished: bool,
    next_branch: usize,
}

impl RouteExecution {
    /// A walk before the first step of `route`.
    pub fn begin(route: &Arc<PipelineRoute>, batch: Batch) -> Self {
        Self { branches: vec![BranchExecution::new(route, batch)], product: BatchProduct::default() }
    }

    /// Runs steps until one of them has a question, or to the end (`None`). If `ask` is false, no step is asked for a
    /// question.
    ///
    /// # Errors
    /// The whole batch is then kept back, and the walk must be dropped.
    pub fn run_steps(&mut self, ask: bool) -> Result<Option<Inquiry>, RouteFailure> {
        while let Some(branch) = self.branches.last_mut() {
            if let Some(inquiry) = branch.run_steps(ask)? {
                return Ok(Some(inquiry));
            }
            branch.finish_steps(&mut self.product)?;
            match branch.start_next_branch() {
                Some(next) => self.branches.push(next),
                None => drop(self.branches.pop()),
            }
        }
        Ok(None)
    }

    /// Stores the answer for the step that asked.
    pub fn store_answer(&mut self, answer: InquiryAnswer) {
        if let Some(batch) = self.branches.last_mut().and_then(|branch| branch.batch.as_mut()) {
            batch.answer = Some(answer);
        }
    }

    /// Runs all steps without questions.
    pub fn run_to_end(mut self) -> Result<BatchProduct, RouteFailure> {
        self.run_steps(false)?;
        Ok(self.product)
    }
}

impl BranchExecution {
    fn new(route: &Arc<PipelineRoute>, batch: Batch) -> Self {
        Self {
            route: Arc::clone(route),
            batch: Some(batch),
            next_step: 0,
            has_asked: false,
            is_finished: false,
            next_branch: 0,
        }
    }

    fn run_steps(&mut self, ask: bool) -> Result<Option<Inquiry>, RouteFailure> {
        let Some(batch) = &mut self.batch else { return Ok(None) };
        while let Some(step) = self.route.steps.get(self.next_step) {
            if ask
                && !std::mem::replace(&mut self.has_asked, true)
                && let Some(inquiry) = step.processor.inquire(batch)
            {
                return Ok(Some(inquiry));
            }
            step.process(batch).map_err(RouteFailure::ProcessorRefused)?;
            batch.answer = None;
            self.next_step += 1;
            self.has_asked = false;
        }
        Ok(None)
    }

    /// Adds the results of the steps to `product`, once.
    fn finish_steps(&mut self, product: &mut BatchProduct) -> Result<(), RouteFailure> {
        let Some(batch) = &mut self.batch else { return Ok(()) };
        if !std::mem::replace(&mut self.is_finished, true) {
            product.effects.append(&mut batch.effects);
            product.drafts.append(&mut batch.drafts);
            self.route.ends.iter().try_for_each(|end| end.encode_copies(batch, product))?;
        }
        Ok(())
    }

    /// The walk through the next branch; the last branch takes the batch without cloning it.
    fn start_next_branch(&mut self) -> Option<Self> {
        let fork = self.route.forks.get(self.next_branch)?;
        self.next_branch += 1;
        let batch = match self.route.forks.len() == self.next_branch {
            true => self.batch.take()?,
            false => fork_batch(self.batch.as_ref()?),
        };
        Some(Self::new(fork, batch))
    }
}
