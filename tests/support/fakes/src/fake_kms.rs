//! [`FakeKms`]: `Decrypt` and `DescribeKey` of AWS KMS over HTTP, with configurable failures. It is strict about requests
//! and can refuse, fail and hang. It does not check signatures (neither does moto) and uses no real cryptography:
//! ciphertext is only masked.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The only key.
pub const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/// When the key was created, seconds since 1970: 2023-11-14.
pub const CREATED: f64 = 1_700_000_000.5;
const REGION: &str = "eu-central-1";

/// How the fake handles requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Answers them.
    #[default]
    Works,
    /// Answers with this HTTP status and error code.
    Says(u16, &'static str),
    /// Answers so many requests with 500, then works.
    Fails(usize),
    /// Never answers.
    Hangs,
    /// Decrypts, and answers `DescribeKey` with this status and body.
    Describes(u16, &'static str),
    /// Answers with a web page, as a proxy would.
    Page,
}

/// The state of the fake.
#[derive(Default)]
pub struct State {
    /// How requests are handled now.
    pub mood: Mood,
    /// Bodies of requests, in order.
    pub asked: Vec<Value>,
    /// Faults found in requests.
    pub wrong: Vec<String>,
}

/// A KMS on a port of its own, for as long as the process lives.
pub struct FakeKms {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// Ciphertext of `plain` under [`KEY`].
pub fn seal(context: &[(&str, &str)], plain: &[u8]) -> Vec<u8> {
    let context: BTreeMap<_, _> = context.iter().copied().collect();
    let mut sealed = head();
    sealed.extend(json!(context).to_string().bytes());
    sealed.push(0xff);
    sealed.extend(plain.iter().map(|byte| byte ^ 0xa5));
    sealed
}

/// The beginning of every ciphertext, which names the key.
fn head() -> Vec<u8> {
    [&[1, 2, 2, 0][..], KEY.as_bytes(), &[0xff]].concat()
}

impl FakeKms {
    /// Starts a fake KMS.
    #[allow(clippy::disallowed_methods, reason = "a peer has threads of its own")]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::<Mutex<State>>::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &state));
            }
        });
        Self { address, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Access to its state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes how requests are handled from now on.
    pub fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Number of requests so far.
    pub fn count(&self) -> usize {
        self.state().asked.len()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let (head, body) = request(&mut stream)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mood = {
        let mut state = state.lock().unwrap();
        for needed in [
            "post / http/1.1",
            "x-amz-target: trentservice.de",
            "content-type: application/x-amz-json-1.1",
            &format!("/{REGION}/kms/aws4_request"),
        ] {
            if !head.contains(needed) {
                state.wrong.push(format!("no `{needed}` in {head}"));
            }
        }
        state.asked.push(body.clone());
        let mood = state.mood;
        if let Mood::Fails(left) = mood {
            state.mood = if left > 1 { Mood::Fails(left - 1) } else { Mood::Works };
        }
        mood
    };
    let describes = head.contains("x-amz-target: trentservice.describekey");
    let (status, kind, text) = match mood {
        Mood::Works if describes => {
            let answer = json!({"KeyMetadata": {"KeyId": KEY, "CreationDate": CREATED, "Enabled": true}});
            (200, "application/x-amz-json-1.1", answer.to_string())
        }
        Mood::Describes(status, text) if describes => (status, "application/x-amz-json-1.1", text.to_owned()),
        Mood::Works | Mood::Describes(..) => match decrypt(&body) {
            Ok(plain) => {
                let answer = json!({"KeyId": KEY, "Plaintext": STANDARD.encode(plain), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"});
                (200, "application/x-amz-json-1.1", answer.to_string())
            }
            Err(code) => (400, "application/x-amz-json-1.1", refusal(code)),
        },
        Mood::Says(status, code) => (status, "application/x-amz-json-1.1", refusal(code)),
        Mood::Fails(_) => (500, "application/x-amz-json-1.1", refusal("KMSInternalException")),
        Mood::Page => (403, "text/html", "<html>CANARY: who are you?</html>".to_owned()),
        Mood::Hangs => {
            std::thread::sleep(Duration::from_secs(600));
            return None;
        }
    };
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
    )
    .ok()
}

fn refusal(code: &str) -> String {
    json!({"__type": code, "message": "CANARY: what AWS says names accounts and keys"}).to_string()
}

/// Reads a request: its head in lower case, and its body.
fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap_or(0));
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes[end + 4..].to_vec()));
            }
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn decrypt(body: &Value) -> Result<Vec<u8>, &'static str> {
    const BAD: &str = "InvalidCiphertextException";
    let sealed = STANDARD.decode(body["CiphertextBlob"].as_str().unwrap_or_default()).map_err(|_| BAD)?;
    let rest = sealed.strip_prefix(&head()[..]).ok_or(BAD)?;
    let end = rest.iter().position(|byte| *byte == 0xff).ok_or(BAD)?;
    let context: Value = serde_json::from_slice(&rest[..end]).map_err(|_| BAD)?;
    let given = body.get("EncryptionContext").cloned().unwrap_or(json!({}));
    let same = |one: &Value, other: &Value| {
        let pairs =
            |value: &Value| -> BTreeMap<String, String> { serde_json::from_value(value.clone()).unwrap_or_default() };
        pairs(one) == pairs(other)
    };
    if !same(&context, &given) {
        return Err(BAD);
    }
    if body.get("KeyId").is_some_and(|key| key != KEY) {
        return Err("IncorrectKeyException");
    }
    Ok(rest[end + 1..].iter().map(|byte| byte ^ 0xa5).collect())
}
