//! Checks that ids which a credential proves reach the items: `normalize` writes them, so each pipeline of a receiver
//! that verifies users must begin with it. Otherwise the items would keep the users that clients claim.

use super::start_checks::finding::{FileContext, FileFinding};
use config::graph::StepRole;

/// Checks the pipelines of every receiver that verifies users.
pub(super) fn check_identities(context: &FileContext<'_>) -> Vec<FileFinding> {
    let valid = context.valid;
    let verifies = |id: &config::ComponentId| {
        let mut receivers = valid.receivers.iter().filter(|receiver| receiver.id == *id);
        receivers.any(|receiver| receiver.value.ports().is_some_and(|ports| ports.verifies_identity()))
    };
    let is_unwritten = |steps: &[(config::ComponentId, _)]| {
        steps.first().is_none_or(|(step, _)| step.kind != StepRole::Normalize.name())
    };
    let unwritten = valid.pipelines.iter().filter(|pipeline| is_unwritten(&pipeline.processors));
    let receivers = unwritten.flat_map(|pipeline| pipeline.receivers.iter().map(move |(id, _)| (id, pipeline.signal)));
    let found = receivers.filter(|(id, _)| verifies(id)).map(|(id, signal)| {
        let message = format!(
            "verifies users, but a pipeline of {} does not begin with `normalize`, which writes them to the items: make it \
             the first of the `processors`",
            signal.as_str()
        );
        FileFinding::error("receivers", id, "auth", message)
    });
    found.collect()
}
