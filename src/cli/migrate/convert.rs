//! Rewrites single components of a Collector's file in tollgate's spelling, where the keys differ and the meaning is
//! the same. Credentials are moved as they are written; a credential that can't be moved becomes a variable that must
//! be set, so that a port that asked for credentials is never left open.

use config::tree::{NodeValue, TreeNode};
use otlp::Signal;

use super::draft::{MigratedPart, MigrationDraft};
use super::report::MigrationVerdict::{Mapped, Missing, NotNeeded};
use super::tree_edit::{
    list_items, list_node, locate, map_node, put_entry, qualify_references, scalar_text, text_at, text_node,
};
use crate::app::collector_compat::{convert_memory_limiter, find_replacement, remove_entry};

/// Stands in for clients' credentials that can't be taken over.
const CLIENT_TOKEN: &str = "${env:TOLLGATE_CLIENT_TOKEN}";
/// Marks of hashed passwords in htpasswd files.
const HASH_MARKS: [&str; 4] = ["$2", "$apr1$", "$$", "{SHA}"];

/// Lists of the `otlp` receiver.
const CORS_LISTS: [&str; 3] = [
    "protocols.http.cors.allowed_origins",
    "protocols.http.cors.allowed_headers",
    "protocols.http.cors.exposed_headers",
];
/// Lists of names that the Collector's `filter` excludes, and the signal of each.
const EXCLUDED_NAMES: [(&str, &str, &str); 2] =
    [("spans.exclude", "span_names", "traces"), ("metrics.exclude", "metric_names", "metrics")];

/// Rewrites a component whose type tollgate has.
pub(super) fn known_component(part: &mut MigratedPart, root: &TreeNode, draft: &mut MigrationDraft) {
    let kind = kind_of(&part.source_id).to_owned();
    match (part.section, kind.as_str()) {
        ("receivers", "otlp") => {
            CORS_LISTS.iter().for_each(|path| split_list(&mut part.body, path));
            server_auth(part, root, draft);
        }
        ("receivers" | "exporters", "kafka") => {
            split_list(&mut part.body, "brokers");
            kafka(part, draft);
        }
        ("exporters", "otlp" | "otlp_grpc" | "otlp_http" | "otlphttp") => client_auth(part, root, draft),
        ("processors", "filter") => strict_filter(part, draft),
        _ => {}
    }
}

/// Splits a text at its commas where the Collector takes it for a list.
fn split_list(body: &mut TreeNode, path: &str) {
    let located = locate(body, path);
    let (NodeValue::Str(text), true) = (&located.node.value, located.is_complete) else { return };
    let at = located.node.at;
    let items = list_node(text.split(',').map(|item| text_node(item.trim(), at)));
    drop(remove_entry(body, path));
    put_entry(body, path, items);
}

/// Converts a component to another type. `why` is the loader's remedy, for what can't be converted.
pub(super) fn other_component(mut part: MigratedPart, why: &str, root: &TreeNode, draft: &mut MigrationDraft) {
    let (new_kind, body) = match kind_of(&part.source_id) {
        "logging" => {
            let level = text_at(&part.body, "loglevel").or_else(|| text_at(&part.body, "logLevel"));
            let from_level = match level {
                Some("debug") => "detailed",
                Some("info") => "normal",
                _ => "basic",
            };
            let verbosity = text_at(&part.body, "verbosity").unwrap_or(from_level).to_owned();
            ("debug", map_node([("verbosity", text_node(verbosity, part.at))]))
        }
        "healthcheckv2" => {
            let http = part.body.get("http").map(|(_, http)| http);
            let endpoint = http.and_then(|http| text_at(http, "endpoint")).unwrap_or("localhost:13133").to_owned();
            let path = http.and_then(|http| http.get("status")).and_then(|(_, status)| text_at(status, "path"));
            let path = text_node(path.unwrap_or("/status"), part.at);
            ("health_check", map_node([("endpoint", text_node(endpoint, part.at)), ("path", path)]))
        }
        "probabilistic_sampler" => {
            let share = text_at(&part.body, "sampling_percentage").and_then(|text| text.parse::<f64>().ok());
            let Some(share) = share else { return draft.leave_behind(&part, why) };
            let ratio =
                TreeNode { value: NodeValue::Float(share.clamp(0.0, 100.0) / 100.0), ..TreeNode::null(part.at) };
            ("filter", map_node([("sampling", map_node([("ratio", ratio)]))]))
        }
        "redaction" => return redaction(&part, draft),
        // Authenticators: `client_auth` and `server_auth` read them.
        _ => {
            let why = "became `headers` of exporters and `auth` of receivers that name it";
            return draft.add_entry(Mapped, &part.component(), "", part.at.line, why);
        }
    };
    let component = part.component();
    part.id = draft.rename(&part, new_kind, root);
    draft.add_entry(Mapped, &component, "", part.at.line, format!("became `{}`", part.id));
    let taken = ["loglevel", "logLevel", "verbosity", "use_v2", "http", "sampling_percentage"];
    for (key, _) in part.body.entries().iter().filter(|(key, _)| !taken.contains(&key.name.as_str())) {
        let why = format!("is not used: `{new_kind}` has no such key");
        draft.add_entry(NotNeeded, &component, &key.name, key.at.line, why);
    }
    part.body = body;
    draft.parts.push(part);
}

/// `memory_limiter` becomes `limits`.
pub(super) fn memory_limiter(part: &MigratedPart, draft: &mut MigrationDraft) {
    let component = part.component();
    // The conversion reckons with numbers; a variable is taken over without that.
    for (key, limit, unit) in [("limit_mib", "memory", "MiB"), ("limit_percentage", "memory_percentage", "")] {
        let written = text_at(&part.body, key).filter(|text| text.contains("${"));
        if let Some(written) = written.filter(|_| draft.limits.entries().is_empty()) {
            put_entry(&mut draft.limits, limit, text_node(format!("{written}{unit}"), part.at));
            let why = format!("became `limits.{limit}`: clients are asked to retry before it is reached");
            return draft.add_entry(Mapped, &component, "", part.at.line, why);
        }
    }
    let note = convert_memory_limiter(component.clone(), part.at, &part.body, &mut draft.limits);
    draft.add_entry(Mapped, &component, "", part.at.line, note.message);
}

/// The id of the authenticator that `auth` names, and its settings.
fn find_authenticator(auth: &TreeNode, root: &TreeNode) -> (String, TreeNode) {
    let name = text_at(auth, "authenticator").unwrap_or_default().to_owned();
    let found = root.get("extensions").and_then(|(_, extensions)| extensions.get(&name)).map(|(_, body)| body.clone());
    let mut settings = found.unwrap_or_else(|| TreeNode::null(auth.at));
    qualify_references(&mut settings);
    (name, settings)
}

fn kind_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

/// The bearer token of an authenticator, as written.
fn bearer_token(settings: &TreeNode) -> Option<String> {
    let from_file = || text_at(settings, "filename").map(|file| format!("${{file:{file}}}"));
    text_at(settings, "token").map(str::to_owned).or_else(from_file)
}

/// `auth` of an exporter becomes a header.
fn client_auth(part: &mut MigratedPart, root: &TreeNode, draft: &mut MigrationDraft) {
    let Some((key, auth)) = remove_entry(&mut part.body, "auth") else { return };
    let (name, settings) = find_authenticator(&auth, root);
    let bearer = bearer_token(&settings).map(|token| {
        let value = format!("{} {token}", text_at(&settings, "scheme").unwrap_or("Bearer"));
        (text_at(&settings, "header").unwrap_or("authorization").to_owned(), value.trim_start().to_owned())
    });
    let (header, value, why) = match (kind_of(&name), bearer) {
        ("bearertokenauth", Some((header, value))) => (header, value, "became a header".to_owned()),
        ("basicauth", _) => {
            let is_word = |c: char| c.is_ascii_alphanumeric();
            let variable = name.to_ascii_uppercase().replace(|c: char| !is_word(c), "_");
            let why = format!("became a header: set {variable} to `printf %s USER:PASSWORD | base64 -w0`");
            ("authorization".to_owned(), format!("Basic ${{env:{variable}}}"), why)
        }
        (kind, _) => {
            let why = find_replacement("extensions", kind).map_or("tollgate has no such authenticator", |(_, why)| why);
            return draft.add_entry(Missing, &part.component(), "auth", key.at.line, why);
        }
    };
    put_entry(&mut part.body, &format!("headers.{header}"), text_node(value, key.at));
    draft.add_entry(Mapped, &part.component(), "auth", key.at.line, why);
}

/// `auth` of a receiver's protocols becomes `auth` beside `protocols`, for both of them.
fn server_auth(part: &mut MigratedPart, root: &TreeNode, draft: &mut MigrationDraft) {
    let (mut taken, mut converted) = (Vec::new(), Vec::new());
    for protocol in ["grpc", "http"] {
        let path = format!("protocols.{protocol}.auth");
        let Some((key, auth)) = remove_entry(&mut part.body, &path) else { continue };
        let (name, settings) = find_authenticator(&auth, root);
        converted.push(match kind_of(&name) {
            "bearertokenauth" => ("auth.tokens.default", bearer_tokens(&settings)),
            "basicauth" => ("auth.basic.default", plain_passwords(&settings)),
            _ => ("", Vec::new()),
        });
        taken.push((path, key.at));
    }
    let (why, verdict) = if converted.iter().any(|(_, credentials)| credentials.is_empty()) {
        set_client_token(part);
        let why = "its credentials can't be taken over: clients must send `authorization: Bearer`, with the token in \
                   TOLLGATE_CLIENT_TOKEN";
        (why, Missing)
    } else {
        for (path, credentials) in &converted {
            let credentials = credentials.iter().map(|one| text_node(one, part.at));
            put_entry(&mut part.body, path, list_node(credentials));
        }
        ("became `auth` of the receiver, for all its protocols, with the account `default`", Mapped)
    };
    for (path, at) in taken {
        draft.add_entry(verdict, &part.component(), &path, at.line, why);
    }
}

/// Lets clients authenticate with a token that must be set.
pub(super) fn set_client_token(part: &mut MigratedPart) {
    drop(remove_entry(&mut part.body, "auth"));
    put_entry(&mut part.body, "auth.tokens.default", list_node([text_node(CLIENT_TOKEN, part.at)]));
}

/// The bearer tokens that an authenticator accepts, as written.
fn bearer_tokens(settings: &TreeNode) -> Vec<String> {
    let listed = settings.get("tokens").map_or(&[][..], |(_, list)| list_items(list));
    let listed = listed.iter().filter_map(scalar_text).map(str::to_owned);
    bearer_token(settings).into_iter().chain(listed).collect()
}

/// The `user:password` lines of an authenticator; none if a password is hashed.
fn plain_passwords(settings: &TreeNode) -> Vec<String> {
    let text = settings.get("htpasswd").and_then(|(_, htpasswd)| text_at(htpasswd, "inline")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_plain = |line: &&str| {
        let password = line.rsplit_once("}:").or_else(|| line.split_once(':')).map_or("", |(_, password)| password);
        !password.is_empty() && !HASH_MARKS.iter().any(|mark| password.starts_with(mark))
    };
    if lines.iter().all(is_plain) { lines.into_iter().map(str::to_owned).collect() } else { Vec::new() }
}

/// Kafka: plain OTLP records, whose topics the Collector has by default and tollgate needs by name.
fn kafka(part: &mut MigratedPart, draft: &mut MigrationDraft) {
    let component = part.component();
    let signals = draft.signals_of(&part.source_id);
    let is_exporter = part.section == "exporters";
    let topic = remove_entry(&mut part.body, "topic").map(|(_, node)| node);
    let mut encoding = remove_entry(&mut part.body, "encoding").map(|(_, node)| node);
    for signal in Signal::ALL {
        let name = signal.as_str();
        if !signals.contains(&signal) {
            if let Some((key, _)) = remove_entry(&mut part.body, name) {
                draft.add_entry(NotNeeded, &component, name, key.at.line, "no pipeline of this signal uses it");
            }
            continue;
        }
        if let Some((key, topics)) = remove_entry(&mut part.body, &format!("{name}.topics")) {
            if let Some(first) = list_items(&topics).first() {
                put_entry(&mut part.body, &format!("{name}.topic"), first.clone());
            }
            if list_items(&topics).len() > 1 {
                let why = "only the first topic was taken over: add a receiver for each further topic";
                draft.add_entry(Missing, &component, &format!("{name}.topics"), key.at.line, why);
            }
        }
        let default = if signal == Signal::Traces { "otlp_spans".to_owned() } else { format!("otlp_{name}") };
        let topic = topic.clone().unwrap_or_else(|| text_node(default, part.at));
        put_entry(&mut part.body, &format!("{name}.topic"), topic);
        if is_exporter {
            let own = remove_entry(&mut part.body, &format!("{name}.encoding")).map(|(_, node)| node);
            encoding = encoding.or(own);
        } else if let Some(encoding) = &encoding {
            put_entry(&mut part.body, &format!("{name}.encoding"), encoding.clone());
        }
    }
    if is_exporter {
        let default = || text_node("otlp_proto", part.at);
        put_entry(&mut part.body, "encoding", encoding.unwrap_or_else(default));
    }
    // A missing `tls` means plain text here, too.
    for path in ["tls", "auth.tls"] {
        let insecure = remove_entry(&mut part.body, &format!("{path}.insecure")).map(|(_, value)| value);
        if insecure.as_ref().and_then(scalar_text) == Some("true") {
            drop(remove_entry(&mut part.body, path));
        }
    }
    let moved =
        [("auth.tls", "tls"), ("auth.plain_text", "auth.sasl"), ("producer.max_message_bytes", "max_request_size")];
    for (from, to) in moved {
        if let Some((key, node)) = remove_entry(&mut part.body, from) {
            put_entry(&mut part.body, to, node);
            draft.add_entry(Mapped, &component, from, key.at.line, format!("became `{to}`"));
            if from == "auth.plain_text" {
                put_entry(&mut part.body, "auth.sasl.mechanism", text_node("PLAIN", key.at));
            }
        }
    }
}

/// Names that a `filter` excludes by equality become rules. The loader refuses other conditions.
fn strict_filter(part: &mut MigratedPart, draft: &mut MigrationDraft) {
    if let Some((key, _)) = remove_entry(&mut part.body, "error_mode") {
        let why = "is not used: conditions can't fail here";
        draft.add_entry(NotNeeded, &part.component(), "error_mode", key.at.line, why);
    }
    let mut rules = Vec::new();
    for (path, names, signal) in EXCLUDED_NAMES {
        let (section, _) = path.split_once('.').unwrap_or((path, ""));
        let Some((_, exclude)) = part.body.get(section).and_then(|(_, section)| section.get("exclude")) else {
            continue;
        };
        let Some((key, list)) = exclude.get(names) else { continue };
        let is_plain = |name: &TreeNode| scalar_text(name).is_some_and(|name| !name.contains('*'));
        if text_at(exclude, "match_type") != Some("strict")
            || exclude.entries().len() > 2
            || !list_items(list).iter().all(is_plain)
        {
            continue;
        }
        let (list, at) = (list.clone(), key.at);
        drop(remove_entry(&mut part.body, path));
        if part.body.get(section).is_some_and(|(_, section)| section.entries().is_empty()) {
            drop(remove_entry(&mut part.body, section));
        }
        let name = format!("{}-{signal}", part.source_id.replace('/', "-"));
        rules.push(map_node([
            ("name", text_node(name, at)),
            ("signals", list_node([text_node(signal, at)])),
            ("names", list),
            // The Collector makes no exception for errors.
            ("include_errors", TreeNode { value: NodeValue::Bool(true), ..TreeNode::null(at) }),
        ]));
    }
    if !rules.is_empty() {
        put_entry(&mut part.body, "drop", list_node(rules));
    }
}

/// `blocked_values` become rules of `redact`, which is in every pipeline.
fn redaction(part: &MigratedPart, draft: &mut MigrationDraft) {
    let component = part.component();
    let why = "became `redact`, whose own rules find private data in every text";
    draft.add_entry(Mapped, &component, "", part.at.line, why);
    for (key, node) in part.body.entries() {
        let why = match key.name.as_str() {
            "blocked_values" => {
                let mut rules = draft.redact.get("custom").map_or(Vec::new(), |(_, list)| list_items(list).to_vec());
                for pattern in list_items(node) {
                    let name = text_node(format!("BLOCKED_{}", rules.len() + 1), pattern.at);
                    rules.push(map_node([("name", name), ("pattern", pattern.clone())]));
                }
                drop(remove_entry(&mut draft.redact, "custom"));
                put_entry(&mut draft.redact, "custom", list_node(rules));
                draft.add_entry(Mapped, &component, &key.name, key.at.line, "became `redact.custom`");
                continue;
            }
            "allow_all_keys" | "allowed_keys" => {
                "tollgate has no list of allowed keys: other keys stay, with redacted values"
            }
            "blocked_key_patterns" => "write the keys as `keys` of a rule in `redact.custom`",
            "summary" => {
                draft.add_entry(NotNeeded, &component, &key.name, key.at.line, "metrics count what each rule found");
                continue;
            }
            "allowed_values" | "ignored_keys" | "ignored_key_patterns" => {
                "write exceptions as `allow` of a rule in `redact.options`"
            }
            _ => "`redact` has no such key",
        };
        // Allowing all keys changes nothing.
        let verdict = if scalar_text(node) == Some("true") { NotNeeded } else { Missing };
        draft.add_entry(verdict, &component, &key.name, key.at.line, why);
    }
}
