//! Whose an item is, through the steps normalize, cost, runs and vault: stamps, metrics, folders, index and runs agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::whole::{Gateway, gateway};
use crate::cost::{CostConfig, CostProcessor};
use crate::normalize::{NormalizeConfig, NormalizeProcessor};
use crate::testing::{attributes, case_file, deps, origin, received};
use ::runs::{RunRecord, RunSource, UNATTRIBUTED, UsageSum};
use genai::testing::builtin::vocabulary;
use genai::testing::request;
use kernel::clock::Clock;
use kernel::rng::SeededRng;
use otlp::Signal;
use pipeline::{Batch, BatchOrigin, Processor};
use telemetry::Meter;
use tracker::RunTracker;

/// The tenant `acme` pays half.
const CONTRACT: &str = "schema: 1\noverlay: true\nversion: o\ncurrency: USD\nper_tokens: 1000000\ndiscount: \"0.5\"\n\
    match: {resource: {tenant.id: acme}}\n";

struct Line {
    gateway: Gateway,
    meter: Meter,
    steps: Vec<Arc<dyn Processor>>,
    tracker: Arc<RunTracker>,
    batches: u8,
}

impl Line {
    fn new() -> Self {
        let (gateway, meter) = (gateway(), Meter::new());
        let contract = gateway.folder.path().join("contract.yaml");
        std::fs::write(&contract, CONTRACT).unwrap();
        let config = CostConfig { overlays: vec![contract.display().to_string()], ..CostConfig::default() };
        let mut settings = config.settings().unwrap();
        settings.signals = vec![Signal::Logs, Signal::Traces];
        let cost = CostProcessor::new("cost".into(), &settings, vocabulary(), &meter);
        let cost = Arc::new(cost.unwrap_or_else(|error| panic!("{}", error.0)));
        let runs = tracker::Config::default().settings().unwrap_or_else(|_| panic!("valid"));
        let ids = deps(gateway.clock.clone()).ids;
        let tracker = Arc::new(RunTracker::new("runs".into(), runs, vocabulary(), ids, &meter));
        tracker.set_rate_tables(cost.shelf());
        tracker.enable_history();
        cost.tracker_slot().get_or_init(|| Arc::clone(&tracker));
        let normalize = NormalizeConfig::default().settings().unwrap();
        let normalize = NormalizeProcessor::new("normalize".into(), &normalize, vocabulary(), &meter);
        let steps: Vec<Arc<dyn Processor>> =
            vec![Arc::new(normalize), cost, tracker.clone(), gateway.processor.clone()];
        Self { gateway, meter, steps, tracker, batches: 0 }
    }

    /// Processes and commits a request; returns the prices stamped on its items.
    fn pass(&mut self, case: &Json) -> Vec<String> {
        self.batches += 1;
        let source_record = case["source_record"].as_str().map(Into::into);
        let account = case["account"].as_str().unwrap_or("default").into();
        let (received_at, id) = (self.gateway.clock.now(), [self.batches; 16]);
        let origin = BatchOrigin { received: received_at, id, account, source_record, ..origin() };
        let mut batch = Batch::new(Arc::new(origin), request::payload(case));
        self.steps.iter().for_each(|step| step.process(&mut batch).expect("processed"));
        let payload = received(&batch);
        for effect in self.gateway.commit(batch) {
            self.steps.iter().filter(|step| *step.id() == effect.processor).for_each(|step| step.apply(&effect));
        }
        let stamps = payload.items().map(|item| attributes(&payload, item));
        stamps.filter_map(|mut item| Some(item.remove("tollgate.cost.usd")?.as_str()?.to_owned())).collect()
    }

    /// Cost by tenant in the metrics, in 1e-9 USD.
    fn in_metrics(&self) -> BTreeMap<String, i64> {
        let rendered = self.meter.render();
        let read = |name: &str, sign: f64| {
            let series = rendered.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("{tenant=\""));
            let to_sum = |line: &str| {
                let (tenant, rest) = line.split_once('"').unwrap();
                (tenant.to_owned(), sign * rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            };
            series.map(to_sum).collect::<Vec<_>>()
        };
        let corrected = read("tollgate_cost_corrected_usd_total", -1.0);
        sum_up(read("tollgate_cost_usd_total", 1.0).into_iter().chain(corrected))
    }

    fn visit_runs(&self, visit: &mut dyn FnMut(&RunRecord<'_>)) {
        self.tracker.visit_runs(&mut |_, run| run.and_then(RunRecord::decode).iter().for_each(&mut *visit));
    }

    /// The same on the page of runs.
    fn in_runs(&self) -> BTreeMap<String, i64> {
        let mut shares = Vec::new();
        self.visit_runs(&mut |run| {
            let of_run = UsageSum::of_run(run);
            let named = of_run.by_tenant(run).map(|(tenant, share)| (tenant.unwrap_or(UNATTRIBUTED).to_owned(), share));
            shares.extend(named);
        });
        sum_up(shares.into_iter().map(|(tenant, share)| (tenant, share.atto_usd as f64 / 1e18)))
    }
}

/// Sums by name in 1e-9 USD, without those of nothing.
fn sum_up(shares: impl Iterator<Item = (String, f64)>) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    shares.for_each(|(name, usd)| *sums.entry(name).or_default() += (usd * 1e9).round() as i64);
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// The attributes that name an owner: tenant, feature and user have the same name.
fn named(owner: &str) -> Json {
    if owner.is_empty() { json!({}) } else { json!({"tenant.id": owner, "feature": owner, "user.id": owner}) }
}

/// A span or record of a trace that names an owner.
fn item(name: &str, [trace, span, parent]: [u64; 3], mut attributes: Json, owner: &str) -> Json {
    attributes.as_object_mut().unwrap().extend(named(owner).as_object().unwrap().clone());
    json!({"name": name, "body": name, "trace": trace, "span": span, "parent": (parent > 0).then_some(parent),
        "attributes": attributes})
}

fn invoke_agent() -> Json {
    json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "anthropic"})
}

fn chat(tokens: u64, id: &str) -> Json {
    json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-haiku-4-5",
        "gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 0, "gen_ai.response.id": id})
}

/// A call as Claude Code reports it.
fn api_request(tokens: u64, id: &str) -> Json {
    json!({"event.name": "api_request", "model": "claude-haiku-4-5", "input_tokens": tokens, "output_tokens": 0,
        "request_id": id})
}

/// `agent` is the agent above the call, in logs a decision of the same session and span. `call` costs 4 USD and has
/// content; in logs, where a call has none, in a record of its own.
fn items(signal: &str, kind: &str, owner: &str) -> Vec<Json> {
    let decision = json!({"event.name": "tool_decision", "decision": "accept"});
    let prompt = json!({"event.name": "user_prompt", "prompt": "CANARY asks"});
    let mut chat = chat(4_000_000, "msg_1");
    chat["gen_ai.input.messages"] = json!(r#"[{"role":"user","parts":[{"type":"text","content":"CANARY asks"}]}]"#);
    match (signal, kind) {
        ("logs", "agent") => vec![item("claude_code.tool_decision", [1, 1, 0], decision, owner)],
        ("logs", _) => vec![
            item("claude_code.user_prompt", [1, 1, 0], prompt, owner),
            item("claude_code.api_request", [1, 1, 0], api_request(4_000_000, "req_1"), owner),
        ],
        (_, "agent") => vec![item("invoke_agent", [1, 1, 0], invoke_agent(), owner)],
        _ => vec![item("chat", [1, 2, 1], chat, owner)],
    }
}

/// A request of `tests/cases/owners.yaml`.
fn a_request(signal: &str, case: &Json) -> Json {
    let other = if signal == "logs" { "traces" } else { "logs" };
    let signal = if case["on_the_other_signal"] == true { other } else { signal };
    let words = case["items"].as_array().unwrap().iter().map(|words| words.as_str().unwrap());
    let pairs = words.map(|words| words.split_once(' ').unwrap_or((words, "")));
    let items: Vec<Json> = pairs.flat_map(|(kind, owner)| items(signal, kind, owner)).collect();
    let scope = if signal == "logs" { "com.anthropic.claude_code.events" } else { "agents" };
    json!({"signal": signal, "resource": named(case["resource"].as_str().unwrap_or("")), "scope": {"name": scope},
        "items": items, "account": case["account"], "source_record": case["source_record"]})
}

/// Tenant, feature and user of a call are its own, else its ancestors', else (the tenant) its resource's, else its run's
/// as known then, else its resource's; price stamp, metrics, folder, index and the page of runs say the same.
#[tokio::test]
async fn all_outputs_agree_on_attribution() {
    let (mut failed, cases): (_, Vec<Json>) = (Vec::new(), case_file("tests/cases/owners.yaml"));
    for signal in ["traces", "logs"] {
        for case in cases.iter().filter(|case| case["only_in"].as_str().is_none_or(|only| only == signal)) {
            let name = case["name"].as_str().unwrap();
            let owner = case["owner_in_logs"].as_str().filter(|_| signal == "logs").or(case["owner"].as_str());
            let owner = owner.unwrap_or("");
            let mut line = Line::new();
            let requests = case["requests"].as_array().unwrap().iter().map(|request| a_request(signal, request));
            let prices: Vec<String> = requests.flat_map(|request| line.pass(&request)).collect();
            assert!(line.gateway.uploader.drain().await);
            let (named, owner) = owner.split_once(' ').unwrap_or((owner, owner));
            let tenant = if named.is_empty() { UNATTRIBUTED } else { named };
            let (price, nanos) = if named == "acme" { ("2", 2_000_000_000) } else { ("4", 4_000_000_000) };
            let has_feature = !owner.is_empty() && case["no_feature_in"] != signal;
            let ids = deps(line.gateway.clock.clone()).ids;
            let user = (!owner.is_empty()).then(|| ids.pseudonym("default", owner));
            let rows = line.gateway.rows().await;
            let with_call = rows.iter().filter(|row| row.tail.call == "model" || !row.tail.part.is_empty());
            let in_index: BTreeSet<_> = with_call
                .map(|row| (&*row.tail.tenant, row.tail.feature.as_deref().unwrap_or(""), row.tail.user_key.clone()))
                .collect();
            let names = line.gateway.names();
            let folders = names.iter().filter(|name| name.ends_with(".agev")).map(|name| name.split('/').nth(1));
            let mut with_calls = Vec::new();
            line.visit_runs(&mut |run| {
                with_calls.extend((run.total().calls > 0).then(|| run.tenant.map(str::to_owned)));
            });
            let sums = BTreeMap::from([(tenant.to_owned(), nanos)]);
            let found = [
                ("stamps", prices == [price]),
                ("metrics", line.in_metrics() == sums),
                // the rows of one account are read
                (
                    "index",
                    name.ends_with("account")
                        || in_index == BTreeSet::from([(tenant, if has_feature { owner } else { "" }, user)]),
                ),
                ("folder", folders.collect::<Vec<_>>() == [Some(tenant)]),
                ("runs", with_calls == [Some(named.to_owned()).filter(|named| !named.is_empty())]),
                ("sums of runs", line.in_runs() == sums),
            ];
            let wrong = found.into_iter().filter(|(_, is_right)| !is_right).map(|(place, _)| place);
            failed.extend(
                wrong.map(|place| format!("{signal}, {name}: {place} instead of {tenant}; index {in_index:?}")),
            );
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Agents, calls and calls on two signals of some traces, each with its signal and scope, in any order; some say whose
/// they are.
fn any_items(rng: &SeededRng) -> Vec<(&'static str, &'static str, Json)> {
    let below = |most: u64| rng.next() % most;
    let owner = || ["", "", "", "acme", "globex"][below(5) as usize];
    let mut items = Vec::new();
    for trace in 1..=3_u64 {
        for (span, parent) in [(1, 0), (2, 1)] {
            let agent = item("invoke_agent", [trace, span, parent], invoke_agent(), owner());
            items.push(("traces", "agents", agent));
        }
        for n in 10..10 + below(5) {
            let mut own = chat(1000 * (1 + below(1000)), &format!("msg_{trace}_{n}"));
            own["session.id"] = json!(format!("s-{trace}"));
            items.push(("traces", "agents", item("chat", [trace, n, 1 + below(2)], own, owner())));
        }
    }
    for n in 0..below(5) {
        let mut usage = api_request(1000 * (1 + below(1000)), &format!("req_{n}"));
        usage["session.id"] = json!("c-1");
        let at = [9, 20 + n, 0];
        let span = item("claude_code.llm_request", at, usage.clone(), owner());
        items.push(("traces", "com.anthropic.claude_code.tracing", span));
        let record = item("claude_code.api_request", at, usage, owner());
        items.push(("logs", "com.anthropic.claude_code.events", record));
    }
    for at in (1..items.len()).rev() {
        items.swap(at, below(at as u64 + 1) as usize);
    }
    items
}

/// Whatever says whose calls are, and however they are batched and ordered: the sums of cost by tenant are the same in
/// metrics, index and runs.
#[tokio::test]
async fn sums_by_tenant_agree() {
    for seed in 0..60 {
        let rng = SeededRng::new(seed);
        let (mut line, mut items) = (Line::new(), any_items(&rng));
        while let Some((signal, scope, _)) = items.last().cloned() {
            let mut together = Vec::new();
            let most = 1 + rng.next() as usize % 5;
            items.retain(|(own_signal, own_scope, item)| {
                let is_next = together.len() < most && (*own_signal, *own_scope) == (signal, scope);
                together.extend(is_next.then(|| item.clone()));
                !is_next
            });
            let resource = ["", "", "initech"][rng.next() as usize % 3];
            let scope = json!({ "name": scope });
            line.pass(&json!({"signal": signal, "resource": named(resource), "scope": scope, "items": together}));
        }
        assert!(line.gateway.uploader.drain().await);
        let rows = line.gateway.rows().await;
        let priced = rows.iter().filter(|row| matches!(row.tail.cost_status.as_deref(), Some("priced" | "correction")));
        let cost = |row: &vault::index_row::IndexRow| row.tail.cost_usd.as_deref().unwrap_or("0").parse().unwrap();
        let in_index = sum_up(priced.map(|row| (row.tail.tenant.clone(), cost(row))));
        assert_eq!(line.in_metrics(), in_index, "seed {seed}: metrics, index");
        assert_eq!(line.in_runs(), in_index, "seed {seed}: runs, index");
    }
}

/// A user whom an earlier request named is marked: anyone may send that request, and so be shown another's content. One
/// whom the item's own request names is not.
#[tokio::test]
async fn users_of_earlier_requests_are_marked() {
    for (requests, is_adopted) in [
        (json!([["agent bob"], ["call"]]), true),
        (json!([["agent bob", "call"]]), false),
        (json!([["agent bob"], ["call bob"]]), false),
    ] {
        let mut line = Line::new();
        for items in requests.as_array().unwrap() {
            line.pass(&a_request("traces", &json!({ "items": items })));
        }
        assert!(line.gateway.uploader.drain().await);
        let bob = deps(line.gateway.clock.clone()).ids.pseudonym("default", "bob");
        let rows = line.gateway.rows().await;
        let calls: Vec<_> = rows.iter().filter(|row| row.tail.call == "model").collect();
        let is_right = |row: &&vault::index_row::IndexRow| {
            row.tail.user_key.as_deref() == Some(&*bob) && row.tail.user_adopted == is_adopted
        };
        assert!(!calls.is_empty() && calls.iter().all(is_right), "{requests}");
    }
}
