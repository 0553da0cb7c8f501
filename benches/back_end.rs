//! A back end that accepts every request, and the reader of its HTTP/1.1 messages.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Reads one message of HTTP/1.1: returns the first line of its head, and puts its body into `body`. `None` at the
/// connection's end.
pub fn read_message(from: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Option<String> {
    let (mut first, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        if line == "\r\n" {
            break;
        }
    }
    body.resize(length, 0);
    from.read_exact(body).ok()?;
    Some(first)
}

/// Prints its port, then answers each request with 200.
pub fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    for stream in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || {
            stream.set_nodelay(true).unwrap();
            let (mut reader, mut writer, mut body) = (BufReader::new(stream.try_clone().unwrap()), stream, Vec::new());
            while read_message(&mut reader, &mut body).is_some() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                if writer.write_all(answer).is_err() {
                    return;
                }
            }
        });
    }
}
