//! `/mcp` on the admin port: read-only tools for MCP clients, over streamable HTTP without sessions. It speaks the
//! stateless revision 2026-07-28 and those with a handshake before it. `tools` answers a tool by a GET of a route of
//! this port with the client's own credential; the admin port's guard checks Host, Origin and credential before.

#[cfg(test)]
mod tests;
mod tools;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::json_response;
use tools::{Caller, TOOL_TABLE};

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The revision in which every request is complete by itself.
const STATELESS: &str = "2026-07-28";
/// The revisions that begin with `initialize`, the latest first.
const HANDSHAKE: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// How long a client may keep the list of tools, which changes only with tollgate's version.
const TOOLS_TTL_MS: u64 = 3_600_000;
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The route. `port`: the routes of the admin port behind their check of credentials, which answer the tools.
pub fn router(port: Router) -> Router {
    Router::new().route("/mcp", post(answer)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(port)
}

/// An error of the protocol. Errors of a tool are results.
#[derive(Debug)]
struct RpcError {
    status: StatusCode,
    code: i32,
    message: &'static str,
    data: Value,
}

impl RpcError {
    fn new(status: StatusCode, code: i32, message: &'static str) -> Self {
        Self { status, code, message, data: Value::Null }
    }

    fn invalid_request(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32600, message)
    }

    fn invalid_params(message: &'static str) -> Self {
        Self::new(StatusCode::OK, -32602, message)
    }

    fn header_mismatch(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -32020, message)
    }

    fn unsupported_version(requested: &Value) -> Self {
        let data = json!({"supported": supported_versions(), "requested": requested});
        Self { data, ..Self::new(StatusCode::BAD_REQUEST, -32022, "Unsupported protocol version") }
    }
}

/// A request, or a notification if `id` is missing.
struct Message {
    id: Option<Value>,
    method: String,
    params: Map<String, Value>,
}

impl Message {
    fn parse(body: &[u8]) -> Result<Self, RpcError> {
        let message: Value = serde_json::from_slice(body)
            .map_err(|_| RpcError::new(StatusCode::BAD_REQUEST, -32700, "the body is not JSON"))?;
        let Value::Object(mut fields) = message else {
            return Err(RpcError::invalid_request("the body must be one JSON-RPC request: batches are not supported"));
        };
        if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(RpcError::invalid_request("`jsonrpc` must be \"2.0\""));
        }
        let id = fields.remove("id");
        if id.as_ref().is_some_and(|id| !id.is_string() && !id.is_i64() && !id.is_u64()) {
            return Err(RpcError::invalid_request("`id` must be a string or an integer"));
        }
        let Some(Value::String(method)) = fields.remove("method") else {
            return Err(RpcError::invalid_request("`method` must be a string"));
        };
        match fields.remove("params").unwrap_or_else(|| json!({})) {
            Value::Object(params) => Ok(Self { id, method, params }),
            _ => Err(RpcError::invalid_request("`params` must be an object")),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Revision {
    Stateless,
    Handshake,
}

impl Revision {
    /// The revision of a request, by its `_meta` and headers, which must agree.
    fn of(headers: &HeaderMap, message: &Message) -> Result<Self, RpcError> {
        let asked = only_header(headers, "mcp-protocol-version");
        let meta = message.params.get("_meta");
        let Some(version) = meta.and_then(|meta| meta.get(VERSION_KEY)) else {
            return match asked.as_deref() {
                Some(STATELESS) => Err(RpcError::header_mismatch("`_meta` names no protocol version, the header does")),
                Some(other) if !HANDSHAKE.contains(&other) => Err(RpcError::unsupported_version(&other.into())),
                _ => Ok(Self::Handshake),
            };
        };
        if asked.is_none() || version.as_str() != asked.as_deref() {
            return Err(RpcError::header_mismatch("MCP-Protocol-Version is not the version in `_meta`"));
        }
        if version != STATELESS {
            return Err(RpcError::unsupported_version(version));
        }
        if only_header(headers, "mcp-method").as_deref() != Some(&*message.method) {
            return Err(RpcError::header_mismatch("Mcp-Method is not the method in the body"));
        }
        let name = message.params.get("name").and_then(Value::as_str);
        if message.method == "tools/call" && only_header(headers, "mcp-name").as_deref() != name {
            return Err(RpcError::header_mismatch("Mcp-Name is not the tool in the body"));
        }
        if !meta.and_then(|meta| meta.get(CAPABILITIES_KEY)).is_some_and(Value::is_object) {
            let message = "`_meta` must have the client's capabilities";
            return Err(RpcError::new(StatusCode::BAD_REQUEST, -32602, message));
        }
        Ok(Self::Stateless)
    }
}

/// The value of a header that is there once. Values that are no plain ASCII come as `=?base64?…?=`.
fn only_header(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    match value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

fn supported_versions() -> Vec<&'static str> {
    [STATELESS].into_iter().chain(HANDSHAKE).collect()
}

async fn answer(State(port): State<Router>, caller: Caller, headers: HeaderMap, body: Bytes) -> Response {
    let message = match Message::parse(&body) {
        Ok(message) => message,
        Err(error) => return error_response(&Value::Null, error),
    };
    let Some(id) = &message.id else { return StatusCode::ACCEPTED.into_response() };
    let result = match Revision::of(&headers, &message) {
        Ok(revision) => respond(port, caller, revision, &message).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(mut result) => {
            if let Value::Object(fields) = &mut result {
                fields.insert("resultType".to_owned(), "complete".into());
            }
            json_response(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
        }
        Err(error) => error_response(id, error),
    }
}

fn error_response(id: &Value, error: RpcError) -> Response {
    let mut what = json!({"code": error.code, "message": error.message});
    if let Value::Object(fields) = &mut what
        && !error.data.is_null()
    {
        fields.insert("data".to_owned(), error.data);
    }
    (error.status, json_response(&json!({"jsonrpc": "2.0", "id": id, "error": what}))).into_response()
}

async fn respond(port: Router, caller: Caller, revision: Revision, message: &Message) -> Result<Value, RpcError> {
    let params = &message.params;
    match (revision, &*message.method) {
        (Revision::Handshake, "initialize") => {
            let wanted = params.get("protocolVersion").and_then(Value::as_str);
            let [latest, ..] = HANDSHAKE;
            let version = HANDSHAKE.into_iter().find(|known| Some(*known) == wanted).unwrap_or(latest);
            Ok(json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server_info(),
                "instructions": TOOL_TABLE.instructions}))
        }
        (Revision::Handshake, "ping") => Ok(json!({})),
        (Revision::Stateless, "server/discover") => Ok(json!({
            "supportedVersions": supported_versions(),
            "capabilities": {"tools": {}},
            "instructions": TOOL_TABLE.instructions,
            "ttlMs": TOOLS_TTL_MS,
            "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
        })),
        (_, "tools/list") if params.get("cursor").is_some_and(|cursor| !cursor.is_null()) => {
            Err(RpcError::invalid_params("there is one page of tools, so no cursor is valid"))
        }
        (_, "tools/list") => Ok(json!({"tools": TOOL_TABLE.list(), "ttlMs": TOOLS_TTL_MS, "cacheScope": "public"})),
        (_, "tools/call") => {
            let name = params.get("name").and_then(Value::as_str);
            let tool = name.and_then(|name| TOOL_TABLE.find(name));
            let tool = tool.ok_or_else(|| RpcError::invalid_params("Unknown tool: tools/list has their names"))?;
            let no_arguments = Map::new();
            let arguments = match params.get("arguments") {
                None | Some(Value::Null) => &no_arguments,
                Some(Value::Object(arguments)) => arguments,
                Some(_) => return Err(RpcError::invalid_params("`arguments` must be an object")),
            };
            Ok(tool.call(port, caller, arguments).await)
        }
        (Revision::Stateless, _) => Err(RpcError::new(StatusCode::NOT_FOUND, -32601, "Method not found")),
        (Revision::Handshake, _) => Err(RpcError::new(StatusCode::OK, -32601, "Method not found")),
    }
}

fn server_info() -> Value {
    json!({"name": "tollgate", "version": env!("CARGO_PKG_VERSION")})
}
