//! Generates sessions from a seed, and their true totals by simple addition, without product code.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde_json::{Value as Json, json};

use kernel::rng::SeededRng;
use otlp::Signal;

/// When sessions start, unix seconds.
const T0: u64 = 1_795_166_000;
/// Model, input and output price of a token in 1e-18 USD.
const PRICES: [(&str, i128, i128); 5] = [
    ("gpt-5-mini", 250_000_000_000, 2_000_000_000_000),
    ("gpt-5", 1_250_000_000_000, 10_000_000_000_000),
    ("gpt-4o", 2_500_000_000_000, 10_000_000_000_000),
    ("gpt-4o-mini", 150_000_000_000, 600_000_000_000),
    ("claude-sonnet-4-5", 3_000_000_000_000, 15_000_000_000_000),
];
/// The model that Claude Code uses.
const CLAUDE: usize = 4;
/// A model that is in no table.
const UNKNOWN: &str = "in-house-7b";
/// The tenant of each session, by number.
const TENANTS: [&str; 2] = ["acme", "initech"];
/// Another tenant, for which some runs also make calls.
const OTHER_TENANT: &str = "zeta";
/// Iterations at which a run must stop.
pub(super) const CEILING: u64 = 10;
/// Maximum clock skew, seconds.
const SKEW: u64 = 3600;

macro_rules! features {
    ($($name:ident),* $(,)?) => {
        /// Special features of sessions and their delivery.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Feature { $($name),* }

        pub(super) const ALL: &[Feature] = &[$(Feature::$name),*];
    };
}

features! {
    TwoSessions, Overlap, SessionEnd, ClaudeCode, SubAgents, FailedSubAgent, OpenInference, ParallelTools, FailedTool, Retry,
    FailedWithTokens, Fallback, FallbackAlike, TwoTenants, NoUsage, NoPrice, Resent, FailedRun, FailedEnd, Loop,
    // skewed clocks: of the tools' host, of single calls, of agents
    SkewTools, SkewCalls, SkewAgents,
    // delivery
    RootNever, RootMissing, RootLast, RootFirst, Shuffled, Reversed, Repeated, Slow, Pause, LongPause, Restart, Kill,
    // The agent reports the tokens of its calls, perhaps with more; a request's span without tokens around a call; a
    // service whose root is a request. Drawn apart, so that all other draws stay the same.
    ReportedTotal, Ordinary, Service,
}

/// Features that came after seeds of `FOUND`.
pub(super) const LATER: [Feature; 3] = [Feature::ReportedTotal, Feature::Ordinary, Feature::Service];

macro_rules! truth {
    ($($name:ident),* $(,)?) => {
        /// Totals of one item, a run or all runs.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct Truth { $(pub(super) $name: i128),* }

        impl AddAssign for Truth {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl Truth {
            pub(super) fn facts(&self) -> Facts {
                [$((stringify!($name), self.$name)),*].into_iter().collect()
            }
        }
    };
}

truth! {
    runs, failed, iterations, calls, failed_calls, retries, fallbacks, tools, failed_tools, tool_retries, sub_agents, input,
    output, atto, unpriced,
}

/// Numbers by the names of [`Truth`]'s fields.
pub(super) type Facts = BTreeMap<&'static str, i128>;

/// The role of an item in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Root,
    Below,
    SessionEnd,
    /// The root of a service's trace, which ends the run in it.
    Request,
    /// A span of an ordinary service.
    Ordinary,
}

/// One span or log record, and its contribution to its run.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) json: Json,
    pub(super) signal: Signal,
    pub(super) scope: &'static str,
    pub(super) session: usize,
    pub(super) trace: u64,
    pub(super) role: Role,
    /// Its end by a correct clock; items are delivered in this order unless a feature changes it.
    pub(super) end: u64,
    /// Duration from its start, seconds.
    seconds: u64,
    /// Items that report the same call share it; the one with more output counts.
    act: u64,
    model: &'static str,
    tenant: &'static str,
    adds: Truth,
    /// Input and output that an agent reports for all calls of its run.
    total: Option<[i128; 2]>,
}

/// The true totals of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct RunTruth {
    pub(super) session: usize,
    pub(super) totals: Truth,
    pub(super) models: BTreeMap<&'static str, Truth>,
    pub(super) tenants: BTreeMap<&'static str, Truth>,
    /// Duration of its root, if it has one.
    pub(super) seconds: Option<u64>,
    /// Its session's end was reported.
    pub(super) session_ended: bool,
    /// Some item other than calls of another tenant belongs to it.
    own: bool,
}

impl RunTruth {
    /// The tenant of the run: that of its calls, and of its other items if it is one of them or there are no calls.
    pub(super) fn tenant(&self) -> &'static str {
        let own = TENANTS[self.session];
        let has_own = if self.tenants.is_empty() { self.own } else { self.tenants.contains_key(own) };
        if has_own { own } else { OTHER_TENANT }
    }

    /// A total costs what exceeds the calls. (Each has a call with tokens if all of it was delivered; before that it
    /// counts as a call itself.)
    fn add_total(&mut self, [input, output]: [i128; 2], reported: [i128; 2]) {
        let (model, price_in, price_out) = PRICES[0];
        let rest = [(input - reported[0]).max(0), (output - reported[1]).max(0)];
        let mut share = Truth { atto: price_in * rest[0] + price_out * rest[1], ..Truth::default() };
        if reported == [0; 2] {
            (share.calls, share.input, share.output) = (1, input, output);
        }
        self.totals += Truth { iterations: share.calls, ..share };
        if share != Truth::default() {
            *self.models.entry(model).or_default() += share;
            *self.tenants.entry(TENANTS[self.session]).or_default() += share;
        }
    }

    /// The final state.
    pub(super) fn state(&self) -> &'static str {
        match (self.totals.failed, self.seconds.is_some() || self.session_ended) {
            (0, true) => "ended",
            (0, false) => "idle",
            _ => "failed",
        }
    }
}

/// The true totals of items, by the trace of their run.
pub(super) fn add_up<'i>(items: impl Iterator<Item = &'i Item>) -> BTreeMap<u64, RunTruth> {
    let (mut acts, mut ended): (BTreeMap<u64, &Item>, Vec<usize>) = (BTreeMap::new(), Vec::new());
    let mut requests: BTreeMap<u64, u64> = BTreeMap::new();
    for item in items {
        match item.role {
            Role::SessionEnd => ended.push(item.session),
            Role::Root | Role::Below => {
                let known = acts.entry(item.act).or_insert(item);
                if item.adds.output > known.adds.output {
                    *known = item;
                }
            }
            Role::Request => drop(requests.insert(item.trace, item.seconds)),
            Role::Ordinary => {}
        }
    }
    let mut reported: BTreeMap<u64, [i128; 2]> = BTreeMap::new();
    for item in acts.values() {
        let known = reported.entry(item.trace).or_default();
        (known[0], known[1]) = (known[0] + item.adds.input, known[1] + item.adds.output);
    }
    let mut runs: BTreeMap<u64, RunTruth> = BTreeMap::new();
    for item in acts.into_values() {
        let run = runs.entry(item.trace).or_default();
        run.session = item.session;
        if let Some(total) = item.total {
            run.add_total(total, reported[&item.trace]);
        }
        run.own |= item.tenant != OTHER_TENANT;
        run.session_ended = ended.contains(&item.session);
        run.totals += item.adds;
        (run.totals.runs, run.totals.failed) = (1, run.totals.failed.min(1));
        if item.role == Role::Root {
            run.seconds = Some(item.seconds);
        }
        let Truth { calls, input, output, atto, unpriced, .. } = item.adds;
        if !item.model.is_empty() && calls + input > 0 {
            let share = Truth { calls, input, output, atto, unpriced, ..Truth::default() };
            *run.models.entry(item.model).or_default() += share;
            *run.tenants.entry(item.tenant).or_default() += share;
        }
    }
    for (trace, run) in &mut runs {
        run.seconds = run.seconds.or_else(|| requests.get(trace).copied());
    }
    runs
}

/// Random choices, limited to the features that are on.
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

    /// Whether a feature occurs here. Drawn even if it is off, so that all other draws stay the same.
    pub(super) fn has(&self, feature: Feature, share: u64) -> bool {
        let drawn = self.below(100) < share;
        drawn && self.on.contains(&feature)
    }

    /// The skew of a clock, seconds.
    fn skew(&self, feature: Feature, share: u64) -> i64 {
        let drawn = self.below(2 * SKEW + 1) as i64 - SKEW as i64;
        if self.has(feature, share) { drawn } else { 0 }
    }
}

struct Maker<'a> {
    dice: &'a Dice<'a>,
    /// For [`LATER`].
    later: Dice<'a>,
    /// The run's agent reports the tokens of its calls.
    has_total: bool,
    /// The session has no agents.
    is_service: bool,
    items: Vec<Item>,
    session: usize,
    trace: u64,
    /// The latest id.
    next: u64,
    now: u64,
    /// Clock skew of the tools' host.
    tools_skew: i64,
    openinference: bool,
    claude: bool,
}

/// The agent below which a step happens.
#[derive(Clone, Copy)]
struct Place {
    parent: u64,
    depth: u64,
    /// Skew of its clock.
    skew: i64,
    /// No model call fails, and clocks of single calls may be skewed: only times say which call follows which.
    calm: bool,
}

/// The course of a model call.
#[derive(Clone, Copy)]
struct Call {
    model: usize,
    failed: bool,
    tokens: bool,
    /// The model of a failed call before, which makes this one a retry or a fallback.
    after: Option<usize>,
}

const GOOD: Call = Call { model: 0, failed: false, tokens: true, after: None };

/// Generates sessions whose runs have about `most` steps at most.
pub(super) fn sessions(seed: u64, on: &[Feature], most: u64) -> Vec<Item> {
    let dice = Dice::new(seed, on);
    let mut items = Vec::new();
    for session in 0..1 + usize::from(dice.has(Feature::TwoSessions, 25)) {
        let (tools_skew, openinference) = (dice.skew(Feature::SkewTools, 50), dice.has(Feature::OpenInference, 30));
        let claude = dice.has(Feature::ClaudeCode, 25);
        let next = 10_000 * (session as u64 + 1);
        let (trace, now) = (100 * (session as u64 + 1), T0 + dice.below(20));
        let later = Dice::new(seed ^ (0x1a7e << session), on);
        // A trace without a run of its own belongs to the session's run, if there is one.
        let is_service = later.has(Feature::Service, 15) && !claude;
        #[rustfmt::skip]
        let mut maker = Maker {
            dice: &dice, later, has_total: false, is_service, items: Vec::new(), session, trace, next, now,
            tools_skew, openinference, claude,
        };
        let overlap = dice.has(Feature::Overlap, 40);
        for _ in 0..1 + dice.below(3) {
            let begin = maker.now;
            maker.trace += 1;
            maker.whole_run(most);
            maker.now = if overlap { begin + dice.below(8) } else { maker.now + 5 };
        }
        if dice.has(Feature::SessionEnd, 25) {
            maker.session_end();
        }
        items.extend(maker.items);
    }
    items
}

impl Maker<'_> {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn whole_run(&mut self, most: u64) {
        let (root, begin) = (self.id(), self.now);
        self.has_total = self.later.has(Feature::ReportedTotal, 30) && !self.claude && !self.openinference;
        self.has_total &= !self.is_service;
        let calm = self.dice.has(Feature::SkewCalls, 30);
        let place = Place { parent: root, depth: 0, skew: 0, calm };
        for _ in 0..1 + self.dice.below(most) {
            self.step(place);
        }
        if self.dice.has(Feature::Loop, 8) {
            (0..CEILING).for_each(|_| self.call(place, GOOD));
        }
        // The last call, by a correct clock, is a successful one, or a failed one that makes the run fail.
        let failed = self.dice.has(Feature::FailedEnd, 10) && !calm && !self.claude;
        self.call(Place { calm: false, ..place }, Call { failed, ..GOOD });
        if failed {
            self.items.last_mut().unwrap().adds.failed = 1;
        }
        let failed = self.dice.has(Feature::FailedRun, 15) && !self.claude;
        if self.is_service {
            self.request(root, 0, begin);
            return;
        }
        let (name, adds) = ("main", Truth { failed: i128::from(failed), ..Truth::default() });
        self.agent(root, Place { parent: 0, ..place }, begin, (name, failed), adds);
        if self.has_total {
            let truth = &add_up(self.items.iter())[&self.trace].totals;
            let more = [self.later.below(2) * 70, self.later.below(2) * 7].map(i128::from);
            let total = [truth.input + more[0], truth.output + more[1]];
            let root = self.items.last_mut().unwrap();
            root.total = Some(total);
            extend(
                &mut root.json["attributes"],
                json!({"gen_ai.request.model": PRICES[0].0,
                "gen_ai.usage.input_tokens": total[0] as u64, "gen_ai.usage.output_tokens": total[1] as u64}),
            );
        }
    }

    /// A span of an ordinary service.
    fn request(&mut self, id: u64, parent: u64, begin: u64) {
        let mut json = json!({"name": "GET /orders", "trace": self.trace, "span": id, "start": begin, "end": self.now,
            "attributes": {"http.request.method": "GET"}});
        if parent != 0 {
            json["parent"] = json!(parent);
        }
        let role = if parent == 0 { Role::Request } else { Role::Ordinary };
        self.add(json, (Signal::Traces, "http", role), self.now - begin, id, Truth::default());
    }

    fn step(&mut self, place: Place) {
        match self.dice.below(4) {
            0 if place.depth < 2 && self.dice.has(Feature::SubAgents, 80) && !self.claude && !self.is_service => {
                self.sub_agent(place);
            }
            1 => self.tools(place),
            2 if !place.calm && !self.claude && !self.has_total => self.trouble(place),
            _ => {
                let model = self.dice.below(4) as usize;
                self.call(place, Call { model, ..GOOD });
            }
        }
    }

    fn sub_agent(&mut self, place: Place) {
        let (id, begin) = (self.id(), self.now);
        let skew = self.dice.skew(Feature::SkewAgents, 25);
        let calm = self.dice.has(Feature::SkewCalls, 30);
        let below = Place { parent: id, depth: place.depth + 1, skew: place.skew + skew, calm };
        for _ in 0..1 + self.dice.below(3) {
            self.step(below);
        }
        let failed = self.dice.has(Feature::FailedSubAgent, 30);
        let name = if place.depth == 0 { "sub-0" } else { "sub-1" };
        let adds = Truth { sub_agents: 1, ..Truth::default() };
        self.agent(id, Place { skew: below.skew, ..place }, begin, (name, failed), adds);
    }

    fn tools(&mut self, place: Place) {
        let parallel = if self.dice.has(Feature::ParallelTools, 60) { 2 + self.dice.below(3) } else { 1 };
        let begin = self.now;
        for tool in 0..parallel {
            self.now = begin;
            self.tool(place, &format!("tool-{tool}"), (false, false));
        }
        if self.dice.has(Feature::FailedTool, 30) {
            // a unique name, so that no call after a failed one is a retry by accident
            let name = format!("again-{}", self.next);
            self.tool(place, &name, (true, false));
            self.tool(place, &name, (false, true));
        }
    }

    fn tool(&mut self, place: Place, name: &str, (failed, retry): (bool, bool)) {
        let (id, begin) = (self.id(), self.now);
        let [failed_tools, tool_retries] = [failed, retry].map(i128::from);
        let adds = Truth { tools: 1, failed_tools, tool_retries, ..Truth::default() };
        let place = Place { skew: place.skew + self.tools_skew, ..place };
        let (operation, mut attributes) = ("execute_tool", json!({"gen_ai.tool.name": name}));
        if self.claude {
            let call = format!("toolu_{id}");
            attributes = json!({"tool_name": name, "tool_use_id": call, "success": (!failed).to_string()});
            self.span(id, place, begin, (operation, failed), attributes.clone(), adds);
            self.log(place, id, "tool_result", attributes, adds);
            return;
        }
        self.span(id, place, begin, (operation, failed), attributes, adds);
    }

    /// A call that fails, and its follow-up.
    fn trouble(&mut self, place: Place) {
        let tokens = self.dice.has(Feature::FailedWithTokens, 50);
        let (from, to) = match self.dice.below(3) {
            0 if self.dice.has(Feature::Retry, 100) => (0, 0),
            1 if self.dice.has(Feature::Fallback, 100) => (0, 2),
            2 if self.dice.has(Feature::FallbackAlike, 100) => (1, 0),
            _ => return self.call(place, GOOD),
        };
        self.call(place, Call { model: from, failed: true, tokens, after: None });
        self.call(place, Call { model: to, after: Some(from), ..GOOD });
    }

    fn call(&mut self, place: Place, call: Call) {
        let (id, begin) = (self.id(), self.now);
        // What a call takes from a total stands under the call's model and tenant.
        let call = if self.has_total { Call { model: 0, ..call } } else { call };
        let (name, price_in, price_out) = PRICES[if self.claude { CLAUDE } else { call.model }];
        let (input, output) = (100 + self.dice.below(5000), 1 + self.dice.below(500));
        let usual = !call.failed && !self.claude && !self.has_total;
        let unknown = self.dice.has(Feature::NoPrice, 10) && usual && call.after.is_none();
        let usage = call.tokens && !(self.dice.has(Feature::NoUsage, 10) && usual);
        let resent = self.dice.has(Feature::Resent, 10) && !call.failed && !self.claude && usage;
        // Claude Code names the tenant in its resource: one for all
        let other = self.dice.has(Feature::TwoTenants, 30) && !self.claude && !self.has_total;
        let tenant = if other { OTHER_TENANT } else { TENANTS[self.session] };
        let skew = self.dice.skew(Feature::SkewCalls, 40);
        let place = Place { skew: place.skew + if place.calm { skew } else { 0 }, ..place };
        let model = if unknown { UNKNOWN } else { name };
        let told = |output: u64| {
            let mut attributes = json!({"gen_ai.request.model": model, "tenant.id": tenant});
            if !call.failed {
                attributes["gen_ai.response.model"] = json!(model);
                attributes["gen_ai.response.id"] = json!(format!("resp-{id}"));
            }
            if usage {
                attributes["gen_ai.usage.input_tokens"] = json!(input);
                attributes["gen_ai.usage.output_tokens"] = json!(output);
            }
            let good = i128::from(!call.failed);
            let [input, output] = [input, output].map(|tokens| if usage { i128::from(tokens) } else { 0 });
            let adds = Truth {
                failed_calls: 1 - good,
                calls: good,
                iterations: if place.depth == 0 { good } else { 0 },
                retries: i128::from(call.after == Some(call.model)),
                fallbacks: i128::from(call.after.is_some_and(|from| from != call.model)),
                input,
                output,
                atto: if unknown { 0 } else { price_in * input + price_out * output },
                unpriced: i128::from(!call.failed && (unknown || !usage)),
                ..Truth::default()
            };
            (attributes, adds)
        };
        let (attributes, adds) = told(output);
        // Known gap: a request's span that comes without any item of an agent is not remembered, so a call inside it
        // is not seen to be a sub-agent's, and counts as an iteration.
        let is_wrapped = !call.failed && call.after.is_none() && !self.claude && place.depth == 0;
        let inside = (self.later.has(Feature::Ordinary, 15) && is_wrapped).then(|| self.id());
        let (outer, place) = (place.parent, Place { parent: inside.unwrap_or(place.parent), ..place });
        if self.claude {
            return self.claude_call(place, begin, (id, tenant), adds);
        }
        self.span(id, place, begin, ("chat", call.failed), attributes, adds);
        self.of_model(1, id, model, tenant);
        if resent {
            let (attributes, adds) = told(output + 50);
            let again = self.id();
            self.span(again, place, begin, ("chat", false), attributes, adds);
            self.of_model(1, id, model, tenant);
        }
        if let Some(inside) = inside {
            self.request(inside, outer, begin);
        }
    }

    /// A call of Claude Code: a span and a log record.
    fn claude_call(&mut self, place: Place, begin: u64, (id, tenant): (u64, &'static str), adds: Truth) {
        let attributes = json!({"model": PRICES[CLAUDE].0, "tenant.id": tenant, "input_tokens": adds.input as u64,
            "output_tokens": adds.output as u64, "cache_read_tokens": 0, "cache_creation_tokens": 0,
            "request_id": format!("req_{id}")});
        let mut of_span = attributes.clone();
        of_span["success"] = json!(true);
        self.span(id, place, begin, ("chat", false), of_span, adds);
        self.log(place, id, "api_request", attributes, adds);
        self.of_model(2, id, PRICES[CLAUDE].0, tenant);
    }

    /// Marks the last items as reports of a call.
    fn of_model(&mut self, items: usize, act: u64, model: &'static str, tenant: &'static str) {
        self.items.iter_mut().rev().take(items).for_each(|item| {
            (item.act, item.model, item.tenant) = (act, model, tenant);
        });
    }

    fn agent(&mut self, id: u64, place: Place, begin: u64, (name, failed): (&str, bool), adds: Truth) {
        let attributes = json!({"gen_ai.agent.name": name});
        self.span(id, place, begin, ("invoke_agent", failed), attributes, adds);
    }

    fn session_end(&mut self) {
        let (id, begin, trace) = (self.id(), self.now + 100, self.trace);
        (self.trace, self.now) = (100 * (self.session as u64 + 1) + 99, begin);
        let place = Place { parent: 0, depth: 0, skew: 0, calm: false };
        self.span(id, place, begin, ("claude_code.session.end", false), json!({}), Truth::default());
        let item = self.items.last_mut().unwrap();
        (item.role, item.scope) = (Role::SessionEnd, "claude_code_hooks");
        self.trace = trace;
    }

    /// The attributes of every item of the session.
    fn whose(&self) -> Json {
        json!({"session.id": format!("s{}", self.session), "tenant.id": TENANTS[self.session], "feature": "triage"})
    }

    fn span(
        &mut self,
        id: u64,
        place: Place,
        begin: u64,
        (operation, failed): (&str, bool),
        more: Json,
        mut adds: Truth,
    ) {
        self.now += 1;
        let end = self.now;
        let (mut name, mut attributes, mut scope) = (operation, self.whose(), "agents");
        if self.claude {
            scope = "com.anthropic.claude_code.tracing";
            name = match operation {
                "chat" => "claude_code.llm_request",
                "execute_tool" => "claude_code.tool",
                "invoke_agent" => "claude_code.interaction",
                other => other,
            };
        } else if self.openinference && operation == "invoke_agent" {
            attributes["openinference.span.kind"] = json!("AGENT");
        } else {
            attributes["gen_ai.operation.name"] = json!(operation);
            attributes["gen_ai.provider.name"] = json!("openai");
        }
        if failed {
            attributes["error.type"] = json!("overloaded");
        }
        extend(&mut attributes, more);
        let at = |time: u64| time.saturating_add_signed(place.skew);
        let mut json = json!({"name": name, "trace": self.trace, "span": id, "start": at(begin), "end": at(end),
            "attributes": attributes});
        if place.parent != 0 {
            json["parent"] = json!(place.parent);
        }
        if failed {
            json["status"] = json!("error");
        }
        let role = if place.parent == 0 { Role::Root } else { Role::Below };
        adds.runs = 0;
        self.add(json, (Signal::Traces, scope, role), end - begin, id, adds);
    }

    /// Adds an item that ends now, as yet of no model and tenant.
    fn add(
        &mut self,
        json: Json,
        (signal, scope, role): (Signal, &'static str, Role),
        seconds: u64,
        act: u64,
        adds: Truth,
    ) {
        let (session, trace, end) = (self.session, self.trace, self.now);
        let (model, tenant, total) = ("", "", None);
        #[rustfmt::skip]
        self.items.push(Item { json, signal, scope, session, trace, role, end, seconds, act, model, tenant, adds, total });
    }

    /// A log record that also reports the call `id`, written in the parent span.
    fn log(&mut self, place: Place, id: u64, event: &str, more: Json, adds: Truth) {
        let mut attributes = self.whose();
        attributes["event.name"] = json!(event);
        attributes["prompt.id"] = json!(format!("prompt-{}", self.trace));
        extend(&mut attributes, more);
        let time = self.now.saturating_add_signed(place.skew);
        let json = json!({"body": format!("claude_code.{event}"), "time": time, "trace": self.trace, "span": place.parent,
            "attributes": attributes});
        let scope = "com.anthropic.claude_code.events";
        self.add(json, (Signal::Logs, scope, Role::Below), 0, id, adds);
    }
}

fn extend(attributes: &mut Json, more: Json) {
    if let (Json::Object(attributes), Json::Object(more)) = (attributes, more) {
        attributes.extend(more);
    }
}
