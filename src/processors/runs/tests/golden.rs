//! What the runs of recorded sessions say, as the API says it, held by files that were read against the hand counts of the
//! recordings (`manifest.json`). `TOLLGATE_UPDATE=1 cargo test --lib runs::tests::golden` writes them anew.

use std::fs;

use super::support::*;
use crate::runs::json;
use crate::testing::request;

/// Claude Code, Codex, an SDK's agent, claude-otel-hooks.
const CLIENTS: [&str; 4] = ["claude-code", "codex", "openinference", "claude-otel-hooks"];

/// Every run of every recorded session of these clients is what its file says.
#[test]
fn recorded_runs() {
    let folder = request::at("tests/cases/runs");
    let update = crate::config::env::var("TOLLGATE_UPDATE").is_some();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for session in CLIENTS.into_iter().flat_map(sessions) {
        let line = Line::whole(runs());
        session.payloads.iter().for_each(|payload| drop(line.play(payload.clone())));
        let views = line.views();
        seen += views.len();
        let got = format!("{:#}\n", json::runs(&views));
        let path = folder.join(format!("{}.json", session.name.replace('/', "-")));
        if update {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &got).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", session.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 18, "{seen}");
}
