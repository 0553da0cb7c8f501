//! Runs: totals of the recordings in any order and batching; ends, bounds, crashes, stamps.

mod alerts;
mod bounds;
mod budgets;
mod continuations;
mod crowd;
mod ends;
mod extras;
mod fleet;
mod former;
mod golden;
mod judged;
mod life;
mod money;
mod order;
mod recordings;
mod sampling;
mod shapes;
mod support;
mod told;
mod truth;
mod whose;
mod work;
