//! The routes of the audit page: search, sessions turn by turn, verification results. They only read. On loopback, the
//! token in the printed address works once and sets a cookie that every further request needs, below a secret path;
//! with `--access`, `access/access_control` decides. Other Host names are refused; there are no scripts; everything is
//! escaped. Each opened session is logged before it is opened. Content is read in `audit/read`, verified in
//! `audit/verify`, and formatted in `page`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Query as Params, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::error::Result;
use crate::read::{
    ContentLimit, FindResult, FragmentOpener, IndexQuery, ReadError, ReplayFilter, ReplayedSession, Vault, find_signed,
    replay,
};
use crate::signed_index::SignedIndex;
use command::time_option::parse_time_option;
use kernel::clock::SystemClock;
use kernel::rng::SystemRng;
use kernel::terminal::{escape_unsafe, unescape_unsafe};
use telemetry::admin::auth::{AdminAuth, KnownClient};
use telemetry::admin::{add_security_headers, guard_routes, is_cross_site};
use vault::call_dedup::CallDeduplicator;
use vault::chain::note::VerifyKey;
use vault::index_row::IndexRow;

use super::developers::{Developers, OwnItems, describe_view};
use super::page::{
    SearchForm, SearchPage, SessionPage, SessionRow, TurnRow, VerificationBanner, VerificationPage, VerificationState,
    session_link,
};
use crate::cli::opening::PermittedOpening;
use crate::cli::opening_log::OpeningLog;
use crate::cli::sessions::pseudonym_hint;
use access::access_control::{AccessControl, check_routes};
use access::cookie_values;
use access::oidc::OidcClient;

/// Maximum number of sessions that a search shows.
const MAX_SESSIONS: usize = 200;
/// Maximum content of a session that is shown, in bytes; larger pages are unusable.
const MAX_CONTENT: u64 = 64 << 20;
/// The one answer for a session of others and for one that does not exist, so that nobody learns which exist.
const NOT_OWN: &str = "none of your sessions has this id and account\n";
const UNREADABLE: &str = "the session can't be read now: an auditor can see why\n";
/// Most searches and sessions that are read at once.
const MAX_READERS: usize = 4;

/// The answer to a request that shows nothing.
type Refusal = (StatusCode, String);

pub(super) struct AuditState {
    pub(super) vault: Vault,
    pub(super) auditors: Vec<age::x25519::Identity>,
    /// Recorded openings of keys that several auditors open together.
    openings: Mutex<Vec<PermittedOpening>>,
    pub(super) verified: Mutex<VerificationState>,
    pub(super) log: OpeningLog,
    /// Public keys of the writers' signers; if empty, signatures are not checked.
    keys: Vec<VerifyKey>,
    /// Objects named by digests that these keys signed, as far as read.
    signed_objects: tokio::sync::Mutex<Arc<SignedIndex>>,
    /// Searches and sessions at once: each reads a lot of the store, or holds a lot of memory.
    readers: Semaphore,
    /// Set on a page for developers, who see only what is their own.
    developers: Option<Developers>,
}

/// The one browser of a page on loopback.
pub(super) struct LocalBrowser {
    /// The token of the printed address; `None` after it was used.
    token: Mutex<Option<String>>,
    /// Name and value of the cookie of the accepted browser. Browsers send cookies to every port of a host, so the name
    /// contains the port.
    cookie: (String, String),
    /// The cookie's path, which pages on other ports don't know. It starts and ends with a slash; all routes are below.
    path: String,
    /// Accepted Host headers, with port.
    hosts: [String; 2],
}

impl LocalBrowser {
    /// `token`, `cookie` and `path` are random; `port` is the page's port.
    pub(super) fn new([token, cookie, path]: [String; 3], port: u16) -> Self {
        let hosts = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{port}"));
        let cookie = (format!("audit-{port}"), cookie);
        Self { token: Mutex::new(Some(token)), cookie, path: format!("/{path}/"), hosts }
    }

    fn has_cookie(&self, request: &Request) -> bool {
        let ((name, value), is_inside) = (&self.cookie, request.uri().path().starts_with(&self.path));
        is_inside && cookie_values(request.headers(), name).any(|sent| is_same_secret(sent, value))
    }

    /// Takes the token of the printed address, if the request has it.
    fn take_token(&self, request: &Request) -> bool {
        let query = request.uri().query().filter(|_| request.uri().path() == self.path);
        let sent = query.and_then(|query| query.strip_prefix("token="));
        let mut token = self.token.lock();
        token.take_if(|token| sent.is_some_and(|sent| is_same_secret(sent, token))).is_some()
    }
}

impl AuditState {
    pub(super) fn new(
        vault: Vault,
        auditors: Vec<age::x25519::Identity>,
        log: OpeningLog,
        keys: Vec<VerifyKey>,
    ) -> Self {
        let (verified, signed_objects, openings) = (Mutex::default(), tokio::sync::Mutex::default(), Mutex::default());
        let readers = Semaphore::new(MAX_READERS);
        Self { vault, auditors, openings, verified, log, keys, signed_objects, readers, developers: None }
    }

    /// Makes it a page for developers.
    pub(super) fn with_developers(self, developers: Option<Developers>) -> Self {
        Self { developers, ..self }
    }

    /// The items that the client may see; `None`: all.
    ///
    /// # Errors
    /// The refusal of a client that nobody can be found for.
    fn find_own_items(&self, client: Option<&KnownClient>) -> Result<Option<OwnItems>, Refusal> {
        let Some(developers) = &self.developers else { return Ok(None) };
        let text = "this page shows each person their own sessions, and your credential names nobody: log in at the \
                    identity provider, or use a client certificate\n";
        developers.own_items(client).map(Some).ok_or_else(|| (StatusCode::FORBIDDEN, text.to_owned()))
    }

    /// Whether a signed index line of the session is among `own`.
    async fn has_own_item(&self, own: &OwnItems, session: &str) -> Result<bool> {
        let (session, account) = (Some(session.to_owned()), Some(own.account.clone()));
        let (query, mut has) = (IndexQuery { session, account, ..IndexQuery::default() }, false);
        search_index(self, &query, &mut |row, unsigned| has |= !unsigned && own.contain(row)).await?;
        Ok(has)
    }

    /// Permits what recorded openings permit.
    pub(super) fn permit(&self, openings: Vec<PermittedOpening>) {
        *self.openings.lock() = openings;
    }

    /// The objects named by signed digests so far; `None` if no keys were given.
    async fn read_signed_objects(&self) -> Result<Option<Arc<SignedIndex>>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let mut signed = self.signed_objects.lock().await;
        Arc::make_mut(&mut signed).visit_new_digests(&self.vault, &self.keys, None, &mut |_, _| {}).await?;
        Ok(Some(Arc::clone(&signed)))
    }

    fn banner(&self) -> VerificationBanner {
        match self.developers {
            Some(_) => VerificationBanner::for_developers(),
            None => VerificationBanner::from_state(&self.verified.lock()),
        }
    }
}

/// The routes for one browser on this machine; each request passes [`check_access`] first.
pub(super) fn local_router(audit: Arc<AuditState>, browser: Arc<LocalBrowser>) -> Router {
    let pages = pages_below(&browser.path, audit);
    pages.layer(middleware::from_fn_with_state(browser, check_access))
}

/// The routes for all who have a role. `allowed_hosts` are accepted beside IP literals and localhost; `is_secure`:
/// browsers reach them with TLS.
pub(super) fn shared_router(
    audit: Arc<AuditState>,
    auth: AdminAuth,
    oidc: Option<Arc<OidcClient>>,
    (is_secure, allowed_hosts): (bool, Vec<String>),
) -> Router {
    let access = AccessControl::for_audit_page(auth, oidc);
    let access = access.with_login_form(is_secure, Arc::new(SystemClock::new()), Arc::new(SystemRng));
    guard_routes(check_routes(pages_below("/", audit), access), allowed_hosts)
}

fn pages_below(path: &str, audit: Arc<AuditState>) -> Router {
    let router = Router::new().route(path, get(get_search)).route(&format!("{path}session"), get(get_session));
    let verification = match audit.developers {
        Some(_) => Router::new(),
        None => Router::new().route(&format!("{path}verification"), get(get_verification)),
    };
    router.merge(verification).with_state(audit)
}

/// Checks host, token and cookie before anything else, and adds security headers.
async fn check_access(State(browser): State<Arc<LocalBrowser>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| browser.hosts.iter().any(|known| known == host)) {
        return (StatusCode::MISDIRECTED_REQUEST, "this host name is not served here\n").into_response();
    }
    let mut response = if browser.has_cookie(&request) {
        next.run(request).await
    } else if browser.take_token(&request) {
        let LocalBrowser { cookie: (name, value), path, .. } = &*browser;
        let cookie = format!("{name}={value}; HttpOnly; SameSite=Strict; Path={path}");
        let mut response = Redirect::to(path).into_response();
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    } else {
        let text = "open the address that `tollgate vault serve` printed; it works once and then grants access to this browser\n";
        (StatusCode::FORBIDDEN, text).into_response()
    };
    add_security_headers(&mut response);
    response
}

fn is_same_secret(left: &str, right: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}

impl SearchForm {
    fn to_query(&self) -> Result<IndexQuery> {
        let non_empty = |text: &str| Some(unescape_unsafe(text.trim())).filter(|text| !text.is_empty());
        let since = non_empty(&self.since).map(|text| parse_time_option(&text)).transpose();
        let since = since.map_err(|why| ReadError::new(format!("the time {why}")))?;
        Ok(IndexQuery {
            session: non_empty(&self.session),
            // The pseudonyms of several epochs, separated by blanks.
            users: self.user.split_whitespace().map(unescape_unsafe).collect(),
            tool: non_empty(&self.tool),
            action: non_empty(&self.action),
            issue: non_empty(&self.issue),
            since,
            failed: !self.failed.is_empty(),
            ..IndexQuery::default()
        })
    }

    /// Hints that the id may be stored as a pseudonym.
    fn pseudonym_hints(&self) -> Vec<String> {
        let users = self.user.split_whitespace().map(|id| ("User", id));
        let ids = [("Session", self.session.trim())].into_iter().chain(users);
        ids.filter_map(|(field, id)| pseudonym_hint(field, &unescape_unsafe(id), "Since or Tool")).collect()
    }

    /// The form's values without invisible characters.
    fn without_invisible(&self) -> Self {
        let [session, user, tool, action, issue, since, failed] =
            [&self.session, &self.user, &self.tool, &self.action, &self.issue, &self.since, &self.failed]
                .map(|text| escape_unsafe(text));
        Self { session, user, tool, action, issue, since, failed }
    }
}

async fn get_search(
    State(audit): State<Arc<AuditState>>,
    client: Option<Extension<KnownClient>>,
    Params(mut search): Params<SearchForm>,
) -> Result<Response, Refusal> {
    let own = audit.find_own_items(client.as_deref())?;
    if own.is_some() {
        search.user.clear();
    }
    let _reading = audit.readers.acquire().await;
    let mut sessions: BTreeMap<(String, String), SessionRow> = BTreeMap::new();
    let (mut left_out, mut calls, mut count) = (false, CallDeduplicator::default(), 0);
    let mut add_line = |row: &IndexRow, unsigned: bool| {
        if own.as_ref().is_some_and(|own| unsigned || !own.contain(row)) {
            return;
        }
        count += 1;
        let trace = || row.tail.trace_id.as_ref().map(|trace| format!("trace-{trace}"));
        let Some(id) = row.tail.session_id.clone().or_else(trace) else { return };
        let key = (id, row.tail.account.clone());
        // More sessions are collected than shown, so that the latest can be selected.
        if sessions.contains_key(&key) || sessions.len() < 50 * MAX_SESSIONS {
            let line = sessions.entry(key).or_insert_with_key(|(session, account)| SessionRow::new(session, account));
            line.add_index_line(row, unsigned, &mut calls);
        } else {
            left_out = true;
        }
    };
    let account = own.as_ref().map(|own| own.account.clone());
    let found = match search.to_query() {
        Ok(query) => match search_index(&audit, &IndexQuery { account, ..query }, &mut add_line).await {
            // Names of objects are names of others' sessions.
            found if own.is_some() && found.as_ref().map_or(true, |found| !found.unreadable.is_empty()) => {
                Err(ReadError::new("the index could not be read completely: an auditor can see why"))
            }
            found => found,
        },
        Err(why) => Err(why),
    };
    let mut lines: Vec<SessionRow> = sessions.into_values().collect();
    // Unsigned sessions may have any time, and must not displace signed ones.
    lines.sort_by(|a, b| (b.signed, &b.last).cmp(&(a.signed, &a.last)));
    left_out |= lines.len() > MAX_SESSIONS;
    lines.truncate(MAX_SESSIONS);
    let unread_note = |found: &FindResult| {
        (!found.unreadable.is_empty()).then(|| format!("not read: {}", found.unreadable.join("; ")))
    };
    let problem = found.as_ref().map_or_else(|why| Some(why.to_string()), unread_note).map(|why| escape_unsafe(&why));
    let mut hints = match (found.is_ok() && count == 0, &own) {
        (false, _) => Vec::new(),
        (true, Some(own)) => vec![own.hint()],
        (true, None) => search.pseudonym_hints(),
    };
    if own.is_none() {
        hints.extend(found.iter().flat_map(|found| found.claimed_ids.clone()));
    }
    let (search, has_users) = (search.without_invisible(), own.is_none());
    Ok(render_page(&SearchPage { banner: audit.banner(), search, has_users, lines, count, problem, hints, left_out }))
}

/// Searches index lines; with keys, unsigned lines come last and are passed with `true`.
async fn search_index(
    audit: &AuditState,
    query: &IndexQuery,
    visit: &mut (dyn FnMut(&IndexRow, bool) + Send),
) -> Result<FindResult> {
    let signed = audit.read_signed_objects().await?;
    let (found, unsigned) = find_signed(&audit.vault, query, signed.as_deref(), visit).await?;
    let unreadable = found.unreadable.into_iter().chain(unsigned.unreadable).chain(found.older_missing).collect();
    let (lines, claimed_ids) = (found.lines + unsigned.lines, found.claimed_ids);
    Ok(FindResult { lines, unreadable, claimed_ids, ..FindResult::default() })
}

#[derive(Deserialize)]
struct SessionQuery {
    session: String,
    account: String,
    turn: Option<usize>,
}

async fn get_session(
    State(audit): State<Arc<AuditState>>,
    client: Option<Extension<KnownClient>>,
    Params(query): Params<SessionQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // A page of another site could make a browser open sessions in its user's name. The redirect after a login at the
    // identity provider looks the same.
    if is_cross_site(&headers) {
        let link = session_link(&(query.session, query.account), query.turn);
        let page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>tollgate</title><p>A link on another site, or a \
             login, led here, so nothing was opened. <a href=\"{link}\">Open the session</a>"
        );
        return Ok((StatusCode::FORBIDDEN, Html(page)).into_response());
    }
    let not_own = || (StatusCode::NOT_FOUND, NOT_OWN.to_owned());
    let unreadable = || (StatusCode::BAD_GATEWAY, UNREADABLE.to_owned());
    let own = audit.find_own_items(client.as_deref())?;
    let _reading = audit.readers.acquire().await;
    if let Some(own) = &own {
        let is_own_account = own.account == query.account;
        if !(is_own_account && audit.has_own_item(own, &query.session).await.map_err(|_| unreadable())?) {
            return Err(not_own());
        }
    }
    let opening = PermittedOpening::find(&audit.openings.lock(), &query.session, &query.account).cloned();
    let view = match (&own, &opening) {
        (None, _) => "",
        (Some(_), None) => ", masked",
        (Some(_), Some(_)) => ", whole",
    };
    let opened = format!("session {} of {}{view}", query.session, query.account);
    let client = client.as_ref().map(|client| &*client.name);
    // An opening that can't be logged must not happen.
    let logged = audit.log.record_opening(client, "serve", &opened);
    logged.map_err(|why| (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")))?;
    let openings = PermittedOpening::now(&audit.openings.lock());
    let mut opener = FragmentOpener::for_openings(&audit.vault, audit.auditors.clone(), openings);
    let signed = audit.read_signed_objects().await;
    let signed = signed.map_err(|why| (StatusCode::BAD_GATEWAY, clean_lines(&why.to_string()) + "\n"))?;
    let filter = ReplayFilter {
        account: Some(query.account.clone()),
        tenant: None,
        content: ContentLimit(MAX_CONTENT),
        signed,
        unsigned: false,
    };
    let replayed = replay(&mut opener, &query.session, &filter).await;
    match (replayed, &own, &audit.developers) {
        (Ok(replay), None, _) => {
            Ok(render_page(&build_session_page(&audit, &query, &replay, &opener.alternative_reads)))
        }
        (Err(why), None, _) => Err((StatusCode::NOT_FOUND, clean_lines(&why.to_string()) + "\n")),
        (Ok(mut replay), Some(own), Some(developers)) => {
            replay.keep_items(&|row| own.contain(row));
            if replay.is_empty() {
                return Err(not_own());
            }
            if opening.is_none() {
                replay.mask(&developers.rules);
            }
            let view = describe_view(opening.as_ref(), replay.unopened(), opener.needs_request);
            Ok(render_page(&SessionPage { view, ..build_session_page(&audit, &query, &replay, &[]) }))
        }
        _ => Err(unreadable()),
    }
}

fn build_session_page(
    audit: &AuditState,
    wanted: &SessionQuery,
    replay: &ReplayedSession,
    moved: &[String],
) -> SessionPage {
    let model_turns = replay.turns();
    let comparable = model_turns.iter().all(|turn| turn.is_whole());
    let turns: Vec<TurnRow> = model_turns.iter().map(TurnRow::from_turn).collect();
    let text = |write: &dyn Fn(&mut Vec<u8>) -> Option<()>| {
        let mut out = Vec::new();
        write(&mut out).map(|()| String::from_utf8_lossy(&out).into_owned())
    };
    let whole_session = || text(&|out| replay.write_text(out).ok());
    let one_turn = |turn: usize| text(&|out| replay.write_turn(turn, out).ok()?.ok());
    let (body, change) = match wanted.turn {
        None => (whole_session(), None),
        Some(turn) => (
            one_turn(turn),
            turn.checked_sub(1)
                .filter(|previous| *previous > 0 && comparable)
                .and_then(|previous| text(&|out| replay.diff(previous, turn, out).ok()?.ok())),
        ),
    };
    let segment = kernel::pseudonym::encode_segment(&wanted.session).unwrap_or_else(|| wanted.session.clone());
    let segment_path = format!("/{segment}/");
    let concerned = match &*audit.verified.lock() {
        VerificationState::Done(report) => {
            let found = report.findings.iter().filter(|finding| finding.location.contains(&segment_path));
            found.map(|finding| escape_unsafe(&finding.message)).collect()
        }
        _ => Vec::new(),
    };
    SessionPage {
        banner: audit.banner(),
        link_ids: (wanted.session.clone(), wanted.account.clone()),
        session: escape_unsafe(&wanted.session),
        account: escape_unsafe(&wanted.account),
        view: Vec::new(),
        turn: wanted.turn,
        turns,
        body: body.unwrap_or_else(|| "there is no such turn".to_owned()),
        change,
        concerned,
        unsigned: replay.unsigned(),
        closed: replay
            .unreadable
            .iter()
            .chain(&replay.older_missing)
            .chain(moved)
            .map(|why| escape_unsafe(why))
            .collect(),
    }
}

async fn get_verification(State(audit): State<Arc<AuditState>>) -> Response {
    let text = match &*audit.verified.lock() {
        VerificationState::Done(report) => report.text(),
        VerificationState::NoKeys => "Give the writers' public keys (--key) to verify what is shown.".to_owned(),
        VerificationState::Running { verified, total } => format!("{verified} of {total} digests so far"),
        VerificationState::Failed(why) => clean_lines(why),
    };
    render_page(&VerificationPage { banner: audit.banner(), text })
}

/// A text of several lines without invisible characters.
fn clean_lines(text: &str) -> String {
    text.lines().map(escape_unsafe).collect::<Vec<_>>().join("\n")
}

fn render_page(page: &impl askama::Template) -> Response {
    match page.render() {
        Ok(page) => Html(page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
