//! Tests of the admin port of a whole gateway with local and remote clients, and with roles.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::gateway;
use super::reload::Running;

/// A gateway's configuration with this admin port.
fn configuration(folder: &Path, admin: &Value) -> String {
    let changes = json!({
        "processors": null, "exporters": { "file": { "trust": "internal" } }, "extensions": { "admin": admin },
        "service": { "pipelines": { "traces": { "processors": null }, "logs": null } },
    });
    gateway::configuration(folder, &changes)
}

/// The status of a request from an address of this machine; `head` is its request line and headers.
async fn ask(admin: SocketAddr, from: &str, asked: &str, headers: &[&str]) -> u16 {
    exchange(admin, from, asked, headers, "").await.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The whole answer to such a request with a body.
async fn exchange(admin: SocketAddr, from: &str, asked: &str, headers: &[&str], body: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(admin).await.unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{asked} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn read_token(folder: &Path) -> String {
    fs::read_to_string(folder.join("data/admin.token")).unwrap().trim().to_owned()
}

const FORWARDED: [&str; 5] = [
    "x-forwarded-for: 10.0.0.9",
    "forwarded: for=10.0.0.9",
    "via: 1.1 x",
    "x-real-ip: 10.0.0.9",
    "x-envoy-internal: true",
];

/// Without `auth` a client that connects from an address other than the machine's own (such as 127.0.0.6, which
/// sidecars use), or whose request a proxy forwarded, can change nothing, even with the token. A local one needs the
/// token. (Verified to fail without the layer, and with every peer treated as local.)
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_elsewhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &json!({ "endpoint": "127.0.0.1:0" }));
    let app = gateway::start(&text, folder.path()).await;
    let admin = gateway::address(&app, "admin");
    let token = format!("authorization: Bearer {}", read_token(folder.path()));
    let (near, far) = ("127.0.0.1", "127.0.0.6");
    for asked in ["POST /api/alerts/test", "POST /-/drain", "GET /api/tap?pipeline=none"] {
        for header in FORWARDED {
            assert_eq!(ask(admin, near, asked, &[header, &token]).await, 403, "{asked} {header}");
        }
        assert_eq!(ask(admin, far, asked, &[&token]).await, 403, "{asked}");
        assert_eq!(ask(admin, far, asked, &[]).await, 403, "{asked}");
        assert_eq!(ask(admin, near, asked, &[]).await, 401, "{asked}");
        assert_eq!(ask(admin, near, asked, &["authorization: Bearer wrong"]).await, 401, "{asked}");
    }
    assert_eq!(ask(admin, near, "POST /api/alerts/test", &[&token, "origin: https://evil.example"]).await, 403);
    // no webhook and no such pipeline is configured
    assert_eq!(ask(admin, near, "POST /api/alerts/test", &[&token]).await, 404);
    assert_eq!(ask(admin, near, "GET /api/tap?pipeline=none", &[&token]).await, 400);
    for from in [near, far] {
        assert_eq!(ask(admin, from, "GET /metrics", &[]).await, 200);
        assert_eq!(ask(admin, from, "GET /", &["authorization: Bearer wrong"]).await, 200);
    }
    app.shutdown().await;
}

/// The token is for its owner alone and stays the same over restarts. A file that every user may read stops the start,
/// and a port with `auth` makes no token.
#[tokio::test(flavor = "multi_thread")]
async fn the_local_token_is_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &json!({ "endpoint": "127.0.0.1:0" }));
    let path = folder.path().join("data/admin.token");
    let mut tokens = Vec::new();
    for _ in 0..2 {
        gateway::start(&text, folder.path()).await.shutdown().await;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        tokens.push(read_token(folder.path()));
    }
    assert!(tokens[0] == tokens[1] && tokens[0].len() == 44, "32 bytes in base64");
    let config = folder.path().join("config.yaml");
    fs::write(&config, &text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().args(["run", "--config"]).arg(&config).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("admin.token") && said.contains("0600") && !said.contains(&tokens[0]), "{said}");
    fs::remove_file(&path).unwrap();
    let auth = json!({ "endpoint": "127.0.0.1:0", "auth": { "bearer": "a-long-enough-token" } });
    gateway::start(&configuration(folder.path(), &auth), folder.path()).await.shutdown().await;
    assert!(!path.exists());
}

/// With tokens of roles, a scraper's token reads the metrics alone, and a viewer's changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn roles_of_a_whole_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = json!({
        "scraper": ["token-of-scrapers"], "viewer": ["token-of-viewers"],
        "operator": ["token-of-operators"], "tapper": ["token-of-tappers"],
    });
    let text = configuration(folder.path(), &json!({ "endpoint": "127.0.0.1:0", "auth": { "tokens": tokens } }));
    let app = gateway::start(&text, folder.path()).await;
    let admin = gateway::address(&app, "admin");
    let credentials =
        ["scrapers", "viewers", "operators", "tappers"].map(|role| format!("authorization: Bearer token-of-{role}"));
    // from elsewhere: with `auth` the credential alone decides
    for (asked, expected) in [
        ("GET /metrics", [401, 200, 200, 200, 200]),
        ("GET /", [401, 403, 200, 200, 200]),
        ("GET /gateway", [401, 403, 200, 200, 200]),
        ("GET /api/runs", [401, 403, 200, 200, 200]),
        ("GET /-/drain", [401, 403, 200, 200, 200]),
        ("POST /-/drain", [401, 403, 403, 409, 403]),
        ("POST /-/spool", [401, 403, 403, 400, 403]),
        ("POST /api/runs/none/outcome", [401, 403, 403, 400, 403]),
        ("POST /api/runs/none/evaluations", [401, 403, 403, 400, 403]),
        ("POST /api/alerts/test", [401, 403, 403, 404, 403]),
        ("POST /-/erasures", [401, 403, 403, 400, 403]),
        ("GET /api/tap?pipeline=none", [401, 403, 403, 403, 400]),
        ("GET /livez", [200; 5]),
        ("POST /metrics", [405; 5]),
        ("GET /none", [401, 403, 404, 404, 404]),
    ] {
        let mut statuses = vec![ask(admin, "127.0.0.6", asked, &[]).await];
        for credential in &credentials {
            statuses.push(ask(admin, "127.0.0.6", asked, &[credential]).await);
        }
        assert_eq!(statuses, expected, "{asked}");
    }
    app.shutdown().await;
}

/// A browser logs in with a token at the form; a reload that removes the token ends its session. The log and the metrics
/// say that guesses came and from which class of address, and nothing of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_token_keeps_no_session() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let (config, form) = (folder.path().join("config.yaml"), "content-type: application/x-www-form-urlencoded");
    let write = |token: &str| {
        let auth = json!({ "tokens": { "viewer": [token], "scraper": ["a-scrape-token"] } });
        let admin = json!({ "endpoint": "127.0.0.1:0", "auth": auth });
        fs::write(&config, configuration(folder.path(), &admin)).unwrap();
    };
    write("the-first-token");
    let running = Running::start(&config, &[]);
    let admin = running.address("admin");
    let log_in = async |admin, token: &str| {
        exchange(admin, "127.0.0.1", "POST /login?next=%2Fruns", &[form], &format!("token={token}")).await
    };
    let refused = log_in(admin, "GUESSED-TOKEN").await;
    assert!(refused.starts_with("HTTP/1.1 403 ") && !refused.contains("set-cookie"), "{refused}");
    let answer = log_in(admin, "the-first-token").await;
    assert!(answer.starts_with("HTTP/1.1 303 ") && answer.contains("location: /runs\r\n"), "{answer}");
    let cookie = answer.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let cookie = format!("cookie: {cookie}");
    assert_eq!(ask(admin, "127.0.0.1", "GET /runs", &[&cookie]).await, 200);
    let scraper = "authorization: Bearer a-scrape-token";
    let metrics = exchange(admin, "127.0.0.1", "GET /metrics", &[scraper], "").await;
    assert!(metrics.contains("rejections_total{reason=\"wrong_credential\",from=\"loopback\"} 1"), "{metrics}");
    let line = running.line("wrong_credential");
    assert!(line.contains("loopback") && !line.contains("GUESSED"), "{line}");
    write("the-second-token");
    running.signal("HUP");
    let admin = running.address("admin");
    assert_eq!(ask(admin, "127.0.0.1", "GET /runs", &[&cookie]).await, 401);
    assert_eq!(ask(admin, "127.0.0.1", "GET /runs", &[&cookie, "accept: text/html"]).await, 303);
    assert!(log_in(admin, "the-second-token").await.starts_with("HTTP/1.1 303 "));
    assert_eq!(running.end(), Some(0));
}

/// tollgate's own commands find the token of the gateway whose configuration they are given.
#[tokio::test(flavor = "multi_thread")]
async fn commands_change_things_on_an_open_port() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = configuration(folder.path(), &json!({ "endpoint": format!("127.0.0.1:{port}") }));
    let config = folder.path().join("config.yaml");
    fs::write(&config, &text).unwrap();
    let app = gateway::start(&text, folder.path()).await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.env_clear().args(arguments).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let at = config.to_str().unwrap();
    // each passes the port's check, and is then told why it can't be done here
    for (command, wanted) in [
        (&["alerts", "test"][..], "no `extensions.admin.alerts.url` is configured"),
        (&["fleet", "drain"], "no `kafka` receiver"),
        (&["tap", "--pipeline", "none"], "there is no pipeline of this id; the configuration has: `traces`"),
    ] {
        let (with_config, address) = ([command, &["--config", at]].concat(), format!("http://127.0.0.1:{port}"));
        let said = run(&with_config);
        assert!(said.contains(wanted), "{command:?}: {said}");
        let said = run(&[command, &["--admin", &address]].concat());
        assert!(said.contains("HTTP status 401") && said.contains("`admin.token`"), "{command:?}: {said}");
        let token = folder.path().join("data/admin.token");
        let with_token = [command, &["--admin", &address, "--admin-token-file", token.to_str().unwrap()]].concat();
        let said = run(&with_token);
        assert!(said.contains(wanted), "{command:?}: {said}");
    }
    app.shutdown().await;
}

/// `vault serve --access` as a process: it prints its address, asks for a credential, opens sessions for tappers only,
/// and does not start without a credential.
#[tokio::test(flavor = "multi_thread")]
async fn several_people_use_the_audit_page() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("vault")).unwrap();
    let tollgate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    assert!(tollgate(&["vault", "keygen", "--output", &at("key")]).status().unwrap().success());
    fs::write(at("token"), "the token of a tapper\n").unwrap();
    let access =
        format!("auth: {{ tokens: {{ viewer: [the token of a viewer], tapper: ['${{file:{}}}'] }} }}\n", at("token"));
    fs::write(at("access.yaml"), access).unwrap();
    fs::write(at("open.yaml"), "auth: {}\n").unwrap();
    let (store, key, file, none) = (at("vault"), at("key"), at("access.yaml"), at("open.yaml"));
    let arguments = ["vault", "serve", "--store", &store, "--identity", &key, "--port", "0", "--access"];
    let refused = tollgate(&[&arguments[..], &[&none]].concat()).output().unwrap();
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has no credential"));
    // On a page for developers, credentials must name people, and signed lines must say whose an item is.
    fs::write(at("pseudonym-key"), "long enough a pseudonym key\n").unwrap();
    let (pseudonyms, own) = (at("pseudonym-key"), ["--developers", "--pseudonym-key"]);
    let signer = tollgate(&["vault", "keygen", "--signing", "--output", &at("signing.key")]).output().unwrap().stdout;
    let signer = String::from_utf8(signer).unwrap();
    let of_developers = [&arguments[..], &[&file], &own, &[&pseudonyms]].concat();
    for (more, code, expected) in
        [(&[][..], 2, "--key"), (&["--key", signer.trim()], 78, "credentials that name people")]
    {
        let refused = tollgate(&[&of_developers[..], more].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(code) && said.contains(expected), "{code}: {said}");
    }
    let mut page = tollgate(&[&arguments[..], &[&file]].concat()).spawn().unwrap();
    let mut greeting = String::new();
    BufReader::new(page.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
    let address = greeting.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
    let address: SocketAddr = address.unwrap_or_else(|| panic!("{greeting}")).parse().unwrap();
    let session = "GET /session?session=s&account=default";
    let [viewer, tapper] = ["viewer", "tapper"].map(|role| format!("authorization: Bearer the token of a {role}"));
    for (asked, header, expected) in [
        ("GET /", None, 401),
        ("GET /?token=x", None, 401),
        ("GET /", Some(&viewer), 200),
        ("GET /verification", Some(&viewer), 200),
        (session, Some(&viewer), 403),
        (session, Some(&tapper), 404),
    ] {
        let headers: Vec<&str> = header.into_iter().map(String::as_str).collect();
        assert_eq!(ask(address, "127.0.0.1", asked, &headers).await, expected, "{asked} {header:?}");
    }
    page.kill().unwrap();
    page.wait().unwrap();
    assert_eq!(fs::read_to_string(at("key.openings.jsonl")).unwrap().lines().count(), 1);
}
