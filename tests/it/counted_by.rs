//! What a back end would count of each recorded session, by its published rule, before and after an exporter's
//! `counted_by`, beside what tollgate charges. `TOLLGATE_UPDATE=1 cargo test --test it counted_by` writes the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use bytes::Bytes;
use exporters::{CountedBy, Stamps};
use genai::BillingStatus;
use otlp::{NodeId, Payload, Signal, UnknownFields};
use serde_json::json;

use crate::client;
use crate::sources::{check_generated, root};
use crate::usefulness::{dry, read};

const BACK_ENDS: [CountedBy; 5] =
    [CountedBy::Honeycomb, CountedBy::Signoz, CountedBy::Langfuse, CountedBy::Phoenix, CountedBy::Datadog];

/// Input and output tokens.
type Tokens = [i64; 2];

/// The first of these keys that has a number.
fn count(payload: &Payload, span: NodeId, keys: &[&str]) -> i64 {
    keys.iter().find_map(|key| payload.get(span, key)?.as_count()).unwrap_or(0)
}

/// What a back end adds up from a span.
fn counted(back_end: CountedBy, payload: &Payload, span: NodeId) -> Tokens {
    let has = |key: &str| payload.get(span, key).is_some();
    let names_model = has("gen_ai.response.model") || has("gen_ai.request.model");
    let [input, output]: [&[&str]; 2] = match back_end {
        CountedBy::None => return [0; 2],
        CountedBy::Signoz if !has("gen_ai.request.model") => return [0; 2],
        CountedBy::Honeycomb if !names_model => return [0; 2],
        CountedBy::Honeycomb => [
            &["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"],
            &["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"],
        ],
        CountedBy::Signoz | CountedBy::Datadog => [&["gen_ai.usage.input_tokens"], &["gen_ai.usage.output_tokens"]],
        CountedBy::Langfuse | CountedBy::Phoenix => [
            &["gen_ai.usage.input_tokens", "llm.token_count.prompt"],
            &["gen_ai.usage.output_tokens", "llm.token_count.completion"],
        ],
    };
    [input, output].map(|keys| count(payload, span, keys))
}

fn sum(back_end: CountedBy, requests: &[Bytes]) -> Tokens {
    let mut sum = [0; 2];
    for request in requests {
        let payload =
            Payload::parse(Signal::Traces, request.clone()).unwrap_or_else(|error| panic!("{}", error.message));
        for span in payload.items() {
            let own = counted(back_end, &payload, span);
            sum = [sum[0] + own[0], sum[1] + own[1]];
        }
    }
    sum
}

/// What tollgate charges for a session, in the tokens of the records that it charges as they leave, and its traces as
/// they leave.
fn charged(session: &std::path::Path) -> (Tokens, Vec<Bytes>) {
    let (mut dry, mut tokens, mut traces) = (dry(), [0; 2], Vec::new());
    let mut files: Vec<_> = fs::read_dir(session).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for (signal, body) in files.iter().filter_map(|file| read(file)).filter(|(signal, _)| *signal != Signal::Metrics) {
        let result = dry.process_request(signal, body, None).unwrap_or_else(|error| panic!("{error}"));
        let charges = |status| matches!(status, BillingStatus::Priced | BillingStatus::Unpriced);
        for (item, node) in result.facts.unwrap().items.iter().zip(result.after.items()) {
            if item.cost.as_deref().is_some_and(|cost| charges(cost.status)) {
                let own = ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"];
                let own = own.map(|key| count(&result.after, node, &[key]));
                tokens = [tokens[0] + own[0], tokens[1] + own[1]];
            }
        }
        if signal == Signal::Traces {
            let sent = result.after.encode(UnknownFields::Keep).unwrap_or_else(|error| panic!("{}", error.message));
            traces.push(sent.bytes.into());
        }
    }
    (tokens, traces)
}

fn session_folders() -> BTreeMap<String, std::path::PathBuf> {
    let mut sessions = BTreeMap::new();
    for client in fs::read_dir(root().join("tests/recordings")).unwrap() {
        let client = client.unwrap().path();
        if !client.is_dir() {
            continue;
        }
        for session in fs::read_dir(&client).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            sessions.insert(format!("{}/{}", name(&client), name(&session)), session);
        }
    }
    sessions
}

/// Sessions whose spans can't tell a back end what tollgate charges, and why.
const EXCEPTIONS: [(&str, &[CountedBy], &str); 2] = [
    ("codex/exec", &[CountedBy::Honeycomb, CountedBy::Signoz], "one span names no model; its log record does"),
    ("gemini-cli/prompt", &BACK_ENDS, "the spans leave out the reasoning tokens; the log records have them"),
];

/// Each back end adds up the tokens that tollgate charges, and a session that loses its tokens has none on spans.
#[test]
fn back_ends_count_each_call_once() {
    let (mut rows, mut wrong) = (String::new(), Vec::new());
    let mut all = [0; 3];
    for (name, session) in session_folders() {
        let (tokens, traces) = charged(&session);
        let text = |[input, output]: Tokens| format!("{input} / {output}");
        let before = BACK_ENDS.map(|back_end| sum(back_end, &traces));
        let after = BACK_ENDS.map(|back_end| {
            let adjust = |traces: &Bytes| back_end.adjust(Stamps::All, Signal::Traces, traces.clone());
            sum(back_end, &traces.iter().map(adjust).collect::<Vec<_>>())
        });
        let sums = [tokens, before[0], after[0]].map(|tokens| tokens.iter().sum::<i64>());
        all = std::array::from_fn(|at| all[at] + sums[at]);
        if before == [[0; 2]; 5] {
            if tokens != [0; 2] {
                let _ = writeln!(rows, "| {name} | {} | on log records only |  |  |  |  |", text(tokens));
            }
            continue;
        }
        let _ = write!(rows, "| {name} | {} |", text(tokens));
        for (back_end, (before, after)) in BACK_ENDS.iter().zip(before.iter().zip(after)) {
            let is_exception = EXCEPTIONS.iter().any(|(known, of, _)| *known == name && of.contains(back_end));
            if (after == tokens) == is_exception {
                wrong.push(format!("{name} {back_end:?}: {after:?} of {tokens:?}; exception: {is_exception}"));
            }
            let changed = if *before == after { text(after) } else { format!("{} → {}", text(*before), text(after)) };
            let _ = write!(rows, " {changed} |");
        }
        rows.push('\n');
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let mut page = "<!-- Written by `TOLLGATE_UPDATE=1 cargo test --test it counted_by`. -->\n\n# What back ends add up\n\n\
        Instrumentations report the tokens of one model call on several spans. An exporter's `counted_by` leaves them on \
        one\nspan ([how](../how-to/backends.md#a-back-end-that-counts-tokens)). The table has what each back end adds up\nover \
        the recorded sessions in `tests/recordings` by its published rule: input / output tokens, without and (behind\n\
        the arrow) with `counted_by`. The second column is what tollgate charges.\n\n"
        .to_owned();
    let [charged, before, after] = all;
    let _ = writeln!(
        page,
        "tollgate charges {charged} tokens over all sessions. By Honeycomb's rule they are {before} without `counted_by` and\n\
         {after} with it; what is then missing is reported only on log records.\n"
    );
    for (name, _, reason) in EXCEPTIONS {
        let _ = writeln!(page, "- `{name}` differs: {reason}.");
    }
    page.push_str(
        "\n| session | tollgate | Honeycomb | SigNoz | Langfuse | Phoenix | Datadog |\n|---|---|---|---|---|---|---|\n",
    );
    check_generated("docs/reference/back-end-sums.md", &(page + &rows));
}

/// The numbers of `docs/how-to/volume.md`: an ordinary call as it arrives, as it leaves, and with `stamps: essential`.
#[test]
fn the_volume_is_as_documented() {
    let attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": "chatcmpl-1", "gen_ai.response.finish_reasons": "stop",
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100, "server.address": "api.openai.com",
        "gen_ai.input.messages": r#"[{"role":"user","parts":[{"type":"text","content":"hello there, my friend"}]}]"#,
        "gen_ai.output.messages": r#"[{"role":"assistant","parts":[{"type":"text","content":"hello to you"}]}]"#});
    let span = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat gpt-4o",
        "startTimeUnixNano": "1795000000000000000", "attributes": client::attributes(&attributes)});
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let wire = otlp::json::decode(Signal::Traces, request.as_bytes()).unwrap();
    let result = dry().process_request(Signal::Traces, wire.into(), None).unwrap_or_else(|error| panic!("{error}"));
    let sent: Bytes =
        result.after.encode(UnknownFields::Keep).unwrap_or_else(|error| panic!("{}", error.message)).bytes.into();
    let count = |stamps| {
        let sent = CountedBy::None.adjust(stamps, Signal::Traces, sent.clone());
        let payload = Payload::parse(Signal::Traces, sent).unwrap_or_else(|error| panic!("{}", error.message));
        payload.items().map(|span| payload.attributes(span).count()).sum::<usize>()
    };
    let page = fs::read_to_string(root().join("docs/how-to/volume.md")).unwrap();
    for stated in [
        format!("arrives with {} attributes", attributes.as_object().unwrap().len()),
        format!("leaves with {}", count(Stamps::All)),
        format!("the span has {} attributes", count(Stamps::Essential)),
    ] {
        assert!(page.contains(&stated), "docs/how-to/volume.md does not say: {stated}");
    }
}
