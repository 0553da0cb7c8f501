//! Answers the requests of hooks and proxies. An event of Claude Code is stored; an event at which a client can be
//! stopped is also checked against the budgets. An answer that lets the agent go on is sent after the event is on disk.
//! An answer that stops it waits for its records at most `answer_within`, and is sent even if nothing could be stored.
//! `span` makes the spans, `questions` asks the budgets, `http_ports/reply` has the statuses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join};
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::Empty;
use hyper::body::Incoming;

use super::budget_api::{self, BUDGET_PATH, CHECK_PATH, MAX_QUESTION_BYTES};
use super::hook_answers::{CLAUDE_CODE, HOOKS_PATH, HookClient};
use super::questions::{AskedEvent, BudgetQuestions, sign_question};
use super::span::translate_event;
use super::start_times::StartTimes;
use crate::http_ports::http_request::parse_content_encoding;
use crate::http_ports::reply::{self, BodyFormat, RequestRefusal};
use crate::http_ports::web_pages::refuse_web_page;
use crate::http_ports::{AcceptedClients, BodyCollector, BodyTally, ChargedBody, PartialResult, ReceiverPort, Sender};
use budgets::{Answer, Question, Verdict};
use kernel::clock::{Clock, with_timeout};
use net::collect::discard;
use net::listen::{ReplyBody, RequestHandler};
use net::{BodyLimits, ClientAddress, ContentEncoding, SlowUploads};
use otlp::Signal;
use otlp::status::GrpcCode;
use pipeline::{BytePermit, Outcome, Reason};

/// While an event is translated, its texts are held as attributes and as the request; both are charged.
const COPIES: usize = 2;
/// How long the body of a request that a proxy asks about is read, to be thrown away.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Handles the requests of hooks and proxies.
pub(super) struct HookPort {
    pub(super) port: ReceiverPort,
    /// The path of Claude Code's hooks.
    pub(super) path: String,
    /// Clients that may ask, but send nothing.
    pub(super) askers: Option<AcceptedClients>,
    /// How long an answer waits for a commit.
    pub(super) answer_within: Duration,
    pub(super) starts: Arc<StartTimes>,
    pub(super) questions: Arc<BudgetQuestions>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a path serves.
#[derive(Clone, Copy)]
enum HookRoute {
    /// Events of this client's hooks.
    Hook(&'static HookClient),
    /// Questions in JSON.
    Budget,
    /// Requests that a proxy asks about.
    Check,
}

/// A request whose sender is known.
#[derive(Clone, Copy)]
struct KnownRequest<'r> {
    parts: &'r request::Parts,
    sender: &'r Sender,
}

impl RequestHandler for HookPort {
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>> {
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let mut sender = None;
            match self.port.meters.time_answer(self.answer(&parts, &mut body, &mut sender)).await {
                Ok(response) => response,
                Err(refusal) => self.port.answer_refused_http(&parts, body, &refusal, sender.as_ref()).await,
            }
        })
    }

    fn slow_uploads(&self) -> Arc<SlowUploads> {
        Arc::clone(&self.port.upload_slots)
    }
}

impl HookPort {
    /// Answers a request; `sender` is set as soon as it is known.
    async fn answer(
        &self,
        parts: &request::Parts,
        body: &mut Incoming,
        sender: &mut Option<Sender>,
    ) -> Result<Response<ReplyBody>, RequestRefusal> {
        let route = self.find_route(parts.uri.path())?;
        if parts.method != Method::POST && !matches!(route, HookRoute::Check) {
            return Err(RequestRefusal::wrong_method("this path needs POST").with_header("allow", "POST"));
        }
        if self.port.guards_browsers {
            refuse_web_page(parts, |_| false)?;
        }
        let request = KnownRequest { parts, sender: sender.insert(self.identify(parts, route).await?) };
        self.port.check_signal(Signal::Traces)?;
        // An agent whose hook is refused would go on; a proxy has its own setting for that.
        if !matches!(route, HookRoute::Hook(_)) {
            self.port.check_question_rate(&request.sender.account)?;
        }
        match route {
            HookRoute::Hook(client) => self.answer_hook(client, request, body).await,
            HookRoute::Budget => {
                let question = budget_api::read_question(&self.read_question(request, body).await?)?;
                let answer = self.ask(question, request).await?;
                Ok(budget_api::write_answer(&answer, self.questions.knows_fleet()))
            }
            HookRoute::Check => {
                discard(body, MAX_QUESTION_BYTES, DISCARD_TIME).await;
                let answer = self.ask(budget_api::read_headers(&parts.headers)?, request).await?;
                Ok(budget_api::write_check(&answer))
            }
        }
    }

    fn find_route(&self, path: &str) -> Result<HookRoute, RequestRefusal> {
        let name = if path == self.path { Some(CLAUDE_CODE) } else { path.strip_prefix(HOOKS_PATH) };
        let check = path.strip_prefix(CHECK_PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match (name.and_then(HookClient::find), check) {
            (Some(client), _) if path == self.path || !client.stores_events() => Ok(HookRoute::Hook(client)),
            (_, Some(_)) => Ok(HookRoute::Check),
            _ if path == BUDGET_PATH => Ok(HookRoute::Budget),
            _ => {
                let message = format!(
                    "unknown path: Claude Code posts to {}, other clients to {HOOKS_PATH}codex, gemini or cursor, \
                     proxies to {BUDGET_PATH}",
                    self.path
                );
                Err(RequestRefusal::new(GrpcCode::NotFound, StatusCode::NOT_FOUND, "not_found", message))
            }
        }
    }

    /// The sender of a request. Who may only ask is no sender of telemetry.
    async fn identify(&self, parts: &request::Parts, route: HookRoute) -> Result<Sender, RequestRefusal> {
        let sends = matches!(route, HookRoute::Hook(client) if client.stores_events());
        if let Some(askers) = self.askers.as_ref().filter(|_| !sends)
            && let Ok(asker) = askers.identify(&parts.headers, &parts.extensions).await
        {
            return Ok(asker);
        }
        self.port.context.clients.identify(&parts.headers, &parts.extensions).await
    }

    async fn answer_hook(
        &self,
        client: &'static HookClient,
        request: KnownRequest<'_>,
        body: &mut Incoming,
    ) -> Result<Response<ReplyBody>, RequestRefusal> {
        let KnownRequest { parts, sender } = request;
        // A client that is refused for its rate would go on, so a question is answered all the same.
        let is_admitted = !self.questions.has_budgets();
        if is_admitted {
            self.port.check_rate(&sender.account)?;
        }
        let encoding = check_json(parts)?;
        let tally = self.port.tally();
        let read = self.read_event(client, &tally, (&sender.account, encoding), body).await;
        // who only asks takes nothing from the rate of the account's telemetry
        let (event, mut asked) = read.map_err(|refusal| match client.stores_events() {
            true => self.port.charge_refused_body(&sender.account, &tally, refusal),
            false => refusal,
        })?;
        let answer = match &mut asked {
            Some(AskedEvent { question, .. }) => {
                sign_question(question, sender)?;
                self.questions.answer(question)
            }
            None => Answer::allow(),
        };
        let question = asked.as_ref().map(|asked| &asked.question);
        let stored = self.store_event(sender, event, is_admitted);
        match join(stored, self.commit_records(question, &answer, request)).await {
            (Err(refusal), ()) if answer.verdict == Verdict::Allow => return Err(refusal),
            (stored, ()) => self.note_failure(stored, request),
        }
        let body = asked.map_or_else(String::new, |asked| self.questions.word_answer(&asked, &answer));
        Ok(match body.is_empty() {
            true => Response::new(reply::boxed(Empty::new())),
            false => budget_api::json_response(StatusCode::OK, body),
        })
    }

    /// Asks the budgets for a proxy.
    async fn ask(&self, mut question: Question, request: KnownRequest<'_>) -> Result<Answer, RequestRefusal> {
        sign_question(&mut question, request.sender)?;
        let answer = self.questions.answer(&question);
        self.commit_records(Some(&question), &answer, request).await;
        Ok(answer)
    }

    /// Commits the answer's records, but for repeats. A failure is logged and counted, and changes no answer.
    async fn commit_records(&self, question: Option<&Question>, answer: &Answer, request: KnownRequest<'_>) {
        let Some(question) = question else { return };
        let now = self.clock.now().0;
        let records = self.questions.new_records(&question.account, &answer.records, now);
        if records.is_empty() {
            return;
        }
        let encoded = Bytes::from(self.questions.encode_records(&records, question, now));
        let mut is_handed_in = false;
        let commit = async {
            let mut permit = BytePermit::new();
            let charged = self.port.context.inlet.charge(&mut permit, encoded.len()).await;
            charged.map_err(|outcome| RequestRefusal::from_outcome(&outcome))?;
            is_handed_in = true;
            self.port.submit_own(Signal::Traces, request.sender, ChargedBody { bytes: encoded, permit }).await
        };
        let commit = self.await_commit(commit).await;
        // the engine goes on with what it has and is only late
        let is_late = |refusal: &RequestRefusal| is_handed_in && refusal.label == Reason::TimedOut.label();
        if commit.as_ref().is_err_and(|refusal| !is_late(refusal)) {
            self.questions.take_back(&question.account, &records);
        }
        self.note_failure(commit, request);
    }

    /// Logs and counts a commit that failed beside an answer.
    fn note_failure(&self, commit: Result<(), RequestRefusal>, KnownRequest { parts, sender }: KnownRequest<'_>) {
        if let Err(refusal) = commit {
            self.port.meters.record_refusal(&refusal, ClientAddress::of(&parts.extensions), Some(&sender.account));
        }
    }

    /// Stores an event, if there is one.
    async fn store_event(&self, sender: &Sender, event: ChargedBody, is_admitted: bool) -> Result<(), RequestRefusal> {
        if event.bytes.is_empty() {
            return Ok(());
        }
        if !is_admitted {
            let charge = |_: &_| self.port.context.inlet.charge_refused(&sender.account, event.bytes.len());
            self.port.check_rate(&sender.account).inspect_err(charge)?;
        }
        self.await_commit(self.port.submit(Signal::Traces, sender, event)).await
    }

    /// Waits for a commit, but not longer than an answer may take. The engine goes on with it all the same.
    async fn await_commit(
        &self,
        commit: impl Future<Output = Result<PartialResult, RequestRefusal>>,
    ) -> Result<(), RequestRefusal> {
        let late = || RequestRefusal::from_outcome(&Outcome::Retry { after: None, reason: Reason::TimedOut });
        match with_timeout(&*self.clock, self.answer_within, commit).await.unwrap_or_else(|| Err(late()))? {
            None => Ok(()),
            // An event is one span: an OK for a part of it would be one for nothing.
            Some(partial) => {
                let (code, status) = (GrpcCode::InvalidArgument, StatusCode::UNPROCESSABLE_ENTITY);
                Err(RequestRefusal::new(code, status, "rejected", partial.message))
            }
        }
    }

    /// Reads an event, and makes the request for it if it is to be stored.
    async fn read_event(
        &self,
        client: &'static HookClient,
        tally: &BodyTally<'_>,
        (account, encoding): (&Arc<str>, ContentEncoding),
        body: &mut Incoming,
    ) -> Result<(ChargedBody, Option<AskedEvent>), RequestRefusal> {
        let intake = self.port.intake(tally);
        let body = ReceiverPort::read_inflated(&intake, encoding, body).await?;
        let (now, account) = (self.clock.now().0, Arc::clone(account));
        let (starts, questions) = (Arc::clone(&self.starts), Arc::clone(&self.questions));
        let translate = move |bytes: Bytes| {
            let event = client.parse_event(&bytes);
            let event = event.map_err(|error| RequestRefusal::malformed_body(error.to_string()))?;
            let stored = client.stores_events().then(|| translate_event(&event, &account, now, &starts));
            Ok((stored.unwrap_or_default(), questions.read_event(client, &event)))
        };
        self.port.convert_body(&intake, body, ("hook", COPIES), translate).await
    }

    /// Reads the body of a question in JSON.
    async fn read_question(&self, request: KnownRequest<'_>, body: &mut Incoming) -> Result<Bytes, RequestRefusal> {
        let encoding = check_json(request.parts)?;
        let tally = self.port.tally();
        let limits = BodyLimits { wire: MAX_QUESTION_BYTES, inflated: MAX_QUESTION_BYTES, ..self.port.limits };
        let intake = BodyCollector { limits: &limits, ..self.port.intake(&tally) };
        ReceiverPort::read_inflated(&intake, encoding, body).await.map(|read| read.bytes)
    }
}

/// Checks that the body is JSON, and returns its encoding. A web page can't send this type to another origin without
/// being asked, so it can't invent events.
fn check_json(parts: &request::Parts) -> Result<ContentEncoding, RequestRefusal> {
    if BodyFormat::from_headers(&parts.headers) != Some(BodyFormat::Json) {
        return Err(RequestRefusal::unsupported("content_type", "the content type must be application/json"));
    }
    parse_content_encoding(&parts.headers)
}
