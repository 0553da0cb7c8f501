//! **What**: [`until`]: waits for what other tasks do. **Why**: a test that waits for what never comes must fail, not hang, and one
//! that waits must leave the machine to what it waits for.

#![allow(missing_docs, reason = "test support")]

use std::time::Duration;

/// So long that only what never comes takes longer, also on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(60);

/// Ends once it is so; panics when that takes a minute.
pub async fn until(mut is: impl FnMut() -> bool) {
    let waits = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(LONGEST, waits).await.is_ok(), "what the test waits for has not come");
}
