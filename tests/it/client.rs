//! The binary as a user runs it, and plain HTTP requests to a gateway.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use otlp::Signal;
use serde_json::{Value, json};

pub(crate) const JSON: &str = "content-type: application/json\r\n";
pub(crate) const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";

/// Runs `tollgate` without this process's variables; returns exit code, stdout and stderr.
pub(crate) fn tollgate(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    output(command.args(arguments).env_clear().stdin(Stdio::null()))
}

/// Exit code, stdout and stderr of a command.
pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

/// Sends one request on a connection of its own and returns the whole response. Each of `headers` ends with a line end.
pub(crate) fn ask(to: SocketAddr, target: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("{target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}");
    // a request that is refused by its head is not read to its end
    let _ = write!(stream, "{head}content-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one request, and returns its body.
pub(crate) fn read_request(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
        let said = line.to_ascii_lowercase();
        length = said.strip_prefix("content-length:").map_or(length, |said| said.trim().parse().unwrap());
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_or_else(|_| Vec::new(), |()| body)
}

/// The status and the body of a response.
pub(crate) fn status_and_body(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Sends spans in JSON; they must be accepted.
pub(crate) fn post_traces(to: SocketAddr, body: &str) {
    let answer = ask(to, "POST /v1/traces", JSON, body.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{body:.300}: {answer}");
}

/// The attributes of OTLP for a map of texts, numbers and flags.
pub(crate) fn attributes(all: &Value) -> Vec<Value> {
    let value = |value: &Value| match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        number => json!({ "intValue": number.to_string() }),
    };
    all.as_object().unwrap().iter().map(|(key, one)| json!({ "key": key, "value": value(one) })).collect()
}

/// A request with one span of these attributes, in JSON.
pub(crate) fn span_with(name: &str, all: &Value) -> String {
    let span = json!({ "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": name,
        "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000001000000000",
        "attributes": attributes(all) });
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string()
}

/// A request with one span of this name, in JSON.
pub(crate) fn span_json(name: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"{name}"}}]}}]}}]}}"#
    )
}

/// The same in protobuf.
pub(crate) fn span(name: &str) -> Vec<u8> {
    otlp::json::decode(Signal::Traces, span_json(name).as_bytes()).unwrap()
}
