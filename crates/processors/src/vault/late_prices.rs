//! Index lines for prices that became known later than their calls. Each gets a leaf of its own in the call's session,
//! because a line that was written is never changed. The line is built in `row`; `vault/ticket` links it to its call.

use std::sync::Arc;

use genai::LatePrice;
use kernel::pseudonym::IdPolicy;
use pipeline::BatchOrigin;
use vault::index_row::UnnumberedRow;
use vault::object_names::{FragmentScope, SessionName};
use vault::ticket::DraftGroup;

use super::row;
use super::sealing::{ContentSealer, new_group};

impl ContentSealer {
    /// Builds a group with one line and no content.
    pub(super) fn late_price_group(&self, ids: &dyn IdPolicy, origin: &BatchOrigin, late: &LatePrice) -> DraftGroup {
        let tenant = late.tenant.as_deref().filter(|tenant| !tenant.is_empty());
        let name = match late.session.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => SessionName::Id(id),
            None => SessionName::Trace(&late.trace),
        };
        let scope = Arc::new(FragmentScope::new(ids, &origin.account, tenant, name, origin.received));
        let names = self.writer.names();
        let mut row_tail = row::late_price_row(ids, origin, late);
        row_tail.writer = names.writer().to_string();
        row_tail.epoch = names.epoch().to_string();
        let object_prefix = names.object_prefix(&scope, origin.received, None);
        new_group(scope, object_prefix, origin.received, vec![UnnumberedRow::new(&row_tail, false)])
    }
}
