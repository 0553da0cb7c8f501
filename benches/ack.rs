//! Measures how long a client waits for its acknowledgement. The sender and the back end are one small program that
//! uses little processor time, so that the gateway is measured. `vault_speed.py` starts a gateway between the two.
//!
//! ```text
//! ack sink    starts a back end that answers 200; prints its port
//! ack load PORT FILE MARK SECONDS CONNECTIONS [RATE]
//!             posts FILE to /v1/traces and replaces its MARK (16 bytes) each time, at RATE requests a second or as
//!             fast as responses come; prints "requests-a-second p50 p99 max", in milliseconds
//! ```

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench"
)]

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

// by path: `vault_speed.py` compiles this file alone
#[path = "back_end.rs"]
pub mod back_end;

struct Load {
    port: u16,
    body: Vec<u8>,
    places: Vec<usize>,
    began: Instant,
    end: Instant,
    rate: Option<f64>,
    sent: AtomicU64,
    latencies: Mutex<Vec<f64>>,
}

impl Load {
    fn one_connection(&self) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            self.body.len()
        );
        let mut request = [head.as_bytes(), &self.body].concat();
        let (mut answer, mut mine) = (Vec::new(), Vec::new());
        loop {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let due =
                self.rate.map_or_else(Instant::now, |rate| self.began + Duration::from_secs_f64(number as f64 / rate));
            if due >= self.end {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let id = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for place in &self.places {
                let at = head.len() + place;
                request[at..at + 8].copy_from_slice(&id.to_le_bytes());
                request[at + 8..at + 16].copy_from_slice(&(id ^ std::process::id() as u64).to_le_bytes());
            }
            // measured from the due time: waiting for a free connection counts as the gateway's time
            writer.write_all(&request).unwrap();
            let first = back_end::read_message(&mut reader, &mut answer).expect("an answer");
            assert!(first.starts_with("HTTP/1.1 200"), "{first}");
            mine.push(due.elapsed().as_secs_f64() * 1e3);
        }
        self.latencies.lock().unwrap().append(&mut mine);
    }
}

fn load(arguments: &[String]) {
    let [port, file, mark, seconds, connections, rate @ ..] = arguments else {
        panic!("ack load PORT FILE MARK SECONDS CONNECTIONS [RATE]")
    };
    let body = std::fs::read(file).unwrap();
    let mark = mark.as_bytes();
    assert_eq!(mark.len(), 16, "a trace id has 16 bytes");
    let places: Vec<usize> =
        body.windows(16).enumerate().filter(|(_, at)| *at == mark).map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "the mark is not in the file");
    let began = Instant::now();
    let load = Arc::new(Load {
        port: port.parse().unwrap(),
        body,
        places,
        began,
        end: began + Duration::from_secs_f64(seconds.parse().unwrap()),
        rate: rate.first().map(|rate| rate.parse().unwrap()),
        sent: AtomicU64::new(0),
        latencies: Mutex::new(Vec::new()),
    });
    let threads: Vec<_> = (0..connections.parse().unwrap())
        .map(|_| {
            let load = Arc::clone(&load);
            thread::spawn(move || load.one_connection())
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let took = began.elapsed().as_secs_f64();
    let mut all = load.latencies.lock().unwrap();
    all.sort_by(f64::total_cmp);
    let (many, last) = (all.len(), all.len() - 1);
    println!("{:.1} {:.3} {:.3} {:.3}", many as f64 / took, all[many / 2], all[(many * 99 / 100).min(last)], all[last]);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.split_first() {
        Some((what, _)) if what == "sink" => back_end::serve(),
        Some((what, rest)) if what == "load" => load(rest),
        _ => println!("ack: sink or load; see vault_speed.py"),
    }
}
