//! Sessions made up from a seed, and what they add up to: by simple addition, with no code of the product.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde_json::{Value as Json, json};

use kernel::rng::SeededRng;

/// When sessions begin, unix seconds.
const T0: u64 = 1_795_163_000;
/// Model, cost of a token in and out in 1e-18 USD.
const PRICES: [(&str, i128, i128); 4] = [
    ("gpt-5-mini", 250_000_000_000, 2_000_000_000_000),
    ("gpt-5", 1_250_000_000_000, 10_000_000_000_000),
    ("gpt-4o", 2_500_000_000_000, 10_000_000_000_000),
    ("gpt-4o-mini", 150_000_000_000, 600_000_000_000),
];

/// What can be special about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    SubAgents,
    FailedSubAgent,
    OpenInference,
    ParallelTools,
    FailedTool,
    Retry,
    FailedWithTokens,
    Fallback,
    FallbackAlike,
    TwoTenants,
    NoUsage,
    NoPrice,
    Resent,
    FailedRun,
    Skew,
    // of the delivery
    RootNever,
    RootLast,
    RootFirst,
    Shuffled,
    Reversed,
    Repeated,
    Slow,
    Restart,
    Kill,
    /// Not of the session: the page is looked at while runs are live.
    LivePage,
}

pub(super) const ALL: [Feature; 25] = {
    use Feature::*;
    [
        SubAgents,
        FailedSubAgent,
        OpenInference,
        ParallelTools,
        FailedTool,
        Retry,
        FailedWithTokens,
        Fallback,
        FallbackAlike,
        TwoTenants,
        NoUsage,
        NoPrice,
        Resent,
        FailedRun,
        Skew,
        RootNever,
        RootLast,
        RootFirst,
        Shuffled,
        Reversed,
        Repeated,
        Slow,
        Restart,
        Kill,
        LivePage,
    ]
};

/// What a run or a session adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) runs: u64,
    pub(super) failed: u64,
    pub(super) iterations: u64,
    pub(super) calls: u64,
    pub(super) failed_calls: u64,
    pub(super) retries: u64,
    pub(super) fallbacks: u64,
    pub(super) tools: u64,
    pub(super) failed_tools: u64,
    pub(super) tool_retries: u64,
    pub(super) sub_agents: u64,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) atto: i128,
    pub(super) unpriced: u64,
}

impl AddAssign for Truth {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.iterations += other.iterations;
        self.calls += other.calls;
        self.failed_calls += other.failed_calls;
        self.retries += other.retries;
        self.fallbacks += other.fallbacks;
        self.tools += other.tools;
        self.failed_tools += other.failed_tools;
        self.tool_retries += other.tool_retries;
        self.sub_agents += other.sub_agents;
        self.input += other.input;
        self.output += other.output;
        self.atto += other.atto;
        self.unpriced += other.unpriced;
    }
}

/// One span and the step of the plan it came from.
#[derive(Clone)]
pub(super) struct Span {
    pub(super) json: Json,
    pub(super) root: bool,
    pub(super) end: u64,
}

/// A session: its spans in the order in which they end, and the truth.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) spans: Vec<Span>,
    pub(super) truth: Truth,
    pub(super) tenants: BTreeMap<String, i128>,
}

/// Chance and switches.
pub(super) struct Dice<'a> {
    rng: SeededRng,
    pub(super) on: &'a [Feature],
}

impl<'a> Dice<'a> {
    pub(super) fn new(seed: u64, on: &'a [Feature]) -> Self {
        Self { rng: SeededRng::new(seed), on }
    }

    pub(super) fn below(&self, most: u64) -> u64 {
        self.rng.next() % most.max(1)
    }

    /// Whether a feature shows up here: drawn whether it is switched on or not, so that the rest stays the same.
    pub(super) fn has(&self, feature: Feature, share: u64) -> bool {
        let drawn = self.below(100) < share;
        drawn && self.on.contains(&feature)
    }
}

struct Maker<'a> {
    dice: &'a Dice<'a>,
    spans: Vec<Span>,
    truth: Truth,
    tenants: BTreeMap<String, i128>,
    run: u64,
    next: u64,
    now: u64,
    /// Of the host that speaks, seconds.
    skew: i64,
    openinference: bool,
}

/// How a model call goes.
#[derive(Clone, Copy)]
struct Call {
    parent: u64,
    model: usize,
    failed: bool,
    tokens: bool,
    /// A sub-agent's: no iteration of the run.
    below: bool,
    /// After one that failed: the model it says.
    after: bool,
}

/// Makes a session of at most `most` steps a run.
pub(super) fn session(seed: u64, on: &[Feature], most: u64) -> Session {
    let dice = Dice::new(seed, on);
    let skew = if dice.has(Feature::Skew, 50) { dice.below(7201) as i64 - 3600 } else { 0 };
    let openinference = dice.has(Feature::OpenInference, 30);
    let mut maker = Maker {
        dice: &dice,
        spans: Vec::new(),
        truth: Truth::default(),
        tenants: BTreeMap::new(),
        run: 0,
        next: 1,
        now: T0,
        skew,
        openinference,
    };
    for run in 1..=1 + dice.below(3) {
        maker.run = run;
        maker.whole_run(most);
        maker.now += 5;
    }
    Session { spans: maker.spans, truth: maker.truth, tenants: maker.tenants }
}

impl Maker<'_> {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn whole_run(&mut self, most: u64) {
        let (root, begin) = (self.id(), self.now);
        self.truth.runs += 1;
        for _ in 0..1 + self.dice.below(most) {
            self.step(root, 0);
        }
        // the last call is a good one
        self.call(Call { parent: root, model: 0, failed: false, tokens: true, below: false, after: false });
        let failed = self.dice.has(Feature::FailedRun, 15);
        self.truth.failed += u64::from(failed);
        self.span(root, 0, begin, "invoke_agent", failed, json!({"gen_ai.agent.name": "main"}));
    }

    fn step(&mut self, parent: u64, depth: u64) {
        let below = depth > 0;
        match self.dice.below(4) {
            0 if depth < 2 && self.dice.has(Feature::SubAgents, 80) => self.sub_agent(parent, depth),
            1 => self.tools(parent),
            2 => self.trouble(parent, below),
            _ => {
                let model = self.dice.below(4) as usize;
                self.call(Call { parent, model, failed: false, tokens: true, below, after: false });
            }
        }
    }

    fn sub_agent(&mut self, parent: u64, depth: u64) {
        let (id, begin) = (self.id(), self.now);
        self.truth.sub_agents += 1;
        for _ in 0..1 + self.dice.below(3) {
            self.step(id, depth + 1);
        }
        let failed = self.dice.has(Feature::FailedSubAgent, 30);
        self.span(id, parent, begin, "invoke_agent", failed, json!({"gen_ai.agent.name": format!("sub-{depth}")}));
    }

    fn tools(&mut self, parent: u64) {
        let parallel = if self.dice.has(Feature::ParallelTools, 60) { 2 + self.dice.below(3) } else { 1 };
        let begin = self.now;
        for tool in 0..parallel {
            self.now = begin;
            self.tool(parent, tool, false);
        }
        if self.dice.has(Feature::FailedTool, 30) {
            self.tool(parent, 9, true);
            self.tool(parent, 9, false);
            self.truth.tool_retries += 1;
        }
    }

    fn tool(&mut self, parent: u64, tool: u64, failed: bool) {
        let (id, begin) = (self.id(), self.now);
        self.truth.tools += 1;
        self.truth.failed_tools += u64::from(failed);
        // names of their own, so that no call after a failed one is a retry by accident
        let name = if tool == 9 { format!("again-{}", id - u64::from(!failed)) } else { format!("tool-{tool}") };
        self.span(id, parent, begin, "execute_tool", failed, json!({"gen_ai.tool.name": name}));
    }

    /// A call that fails and what comes after it.
    fn trouble(&mut self, parent: u64, below: bool) {
        let tokens = self.dice.has(Feature::FailedWithTokens, 50);
        let good = Call { parent, model: 0, failed: false, tokens: true, below, after: false };
        let kind = self.dice.below(3);
        let to = match kind {
            0 if self.dice.has(Feature::Retry, 100) => (0, 0),
            1 if self.dice.has(Feature::Fallback, 100) => (0, 2),
            2 if self.dice.has(Feature::FallbackAlike, 100) => (1, 0),
            _ => return self.call(good),
        };
        self.call(Call { model: to.0, failed: true, tokens, ..good });
        self.truth.retries += u64::from(to.0 == to.1);
        self.truth.fallbacks += u64::from(to.0 != to.1);
        self.call(Call { model: to.1, after: true, ..good });
    }

    fn call(&mut self, call: Call) {
        let (id, begin) = (self.id(), self.now);
        let (name, price_in, price_out) = PRICES[call.model];
        let (input, mut output) = (100 + self.dice.below(5000), 1 + self.dice.below(500));
        let unknown = !call.failed && !call.after && self.dice.has(Feature::NoPrice, 10);
        let usage = call.tokens && (call.failed || !self.dice.has(Feature::NoUsage, 10));
        let resent = usage && !call.failed && self.dice.has(Feature::Resent, 10);
        let tenant = if self.dice.has(Feature::TwoTenants, 30) { "globex" } else { "acme" };
        let model = if unknown { "in-house-7b" } else { name };
        let mut attributes = json!({"gen_ai.request.model": model, "tenant.id": tenant});
        if !call.failed {
            attributes["gen_ai.response.model"] = json!(model);
            attributes["gen_ai.response.id"] = json!(format!("resp-{id}"));
        }
        if usage {
            attributes["gen_ai.usage.input_tokens"] = json!(input);
            attributes["gen_ai.usage.output_tokens"] = json!(output);
        }
        self.span(id, call.parent, begin, "chat", call.failed, attributes.clone());
        if resent {
            output += 50;
            attributes["gen_ai.usage.output_tokens"] = json!(output);
            let again = self.id();
            self.span(again, call.parent, begin, "chat", false, attributes);
        }
        self.truth.failed_calls += u64::from(call.failed);
        self.truth.calls += u64::from(!call.failed);
        self.truth.iterations += u64::from(!call.failed && !call.below);
        if usage {
            self.truth.input += input;
            self.truth.output += output;
        }
        if usage && !unknown {
            let cost = price_in * i128::from(input) + price_out * i128::from(output);
            self.truth.atto += cost;
            *self.tenants.entry(tenant.to_owned()).or_default() += cost;
        }
        self.truth.unpriced += u64::from(!call.failed && (unknown || !usage));
    }

    fn span(&mut self, id: u64, parent: u64, begin: u64, operation: &str, failed: bool, more: Json) {
        self.now += 1;
        let end = self.now;
        let mut attributes = json!({"session.id": "s", "gen_ai.provider.name": "openai", "tenant.id": "acme"});
        attributes["gen_ai.operation.name"] = json!(operation);
        if self.openinference && operation == "invoke_agent" {
            attributes = json!({"session.id": "s", "tenant.id": "acme", "openinference.span.kind": "AGENT"});
        }
        if failed {
            attributes["error.type"] = json!("overloaded");
        }
        attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // calls of tools are told by a host whose clock is off
        let off = if operation == "execute_tool" { self.skew } else { 0 };
        let at = |time: u64| time.saturating_add_signed(off);
        let mut json = json!({"name": operation, "trace": self.run, "span": id, "start": at(begin), "end": at(end),
            "attributes": attributes});
        if parent != 0 {
            json["parent"] = json!(parent);
        }
        if failed {
            json["status"] = json!("error");
        }
        self.spans.push(Span { json, root: parent == 0, end });
    }
}
