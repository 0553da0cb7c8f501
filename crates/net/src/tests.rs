use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::encoding::{InflateError, InflateStep, Inflater, compress};
use super::rope::Rope;
use super::*;

const ALL: [ContentEncoding; 4] =
    [ContentEncoding::Identity, ContentEncoding::Gzip, ContentEncoding::Deflate, ContentEncoding::Zstd];

fn rope(pieces: &[Vec<u8>]) -> Rope {
    let mut rope = Rope::default();
    for piece in pieces {
        rope.push(Bytes::from(piece.clone()));
    }
    rope
}

proptest! {
    /// A rope returns the pushed bytes in order, whatever the sizes of the frames, both joined and through its reader.
    #[test]
    fn a_rope_gives_back_what_was_pushed(sizes in prop::collection::vec(0..9000_usize, 0..8), head in 0..2_usize) {
        let pieces: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, n)| vec![u8::try_from(i).expect("few"); *n]).collect();
        let whole = pieces.concat();
        prop_assert_eq!(rope(&pieces).len(), whole.len());
        let (mut one, mut two) = (rope(&pieces), rope(&pieces));
        let skip = if head == 1 && whole.len() >= 5 { 5 } else { 0 };
        if head == 1 {
            let taken = one.take_front::<5>();
            prop_assert_eq!(taken.is_some(), whole.len() >= 5);
            prop_assert_eq!(taken, two.take_front::<5>());
        }
        prop_assert_eq!(one.len(), whole.len() - skip);
        prop_assert_eq!(&one.into_bytes()[..], &whole[skip..]);
        let mut read = Vec::new();
        two.into_reader().read_to_end(&mut read).expect("memory");
        prop_assert_eq!(&read[..], &whole[skip..]);
    }

    /// A body inflated in steps of any size equals the original and never exceeds the limit, in every coding.
    #[test]
    fn inflating_in_steps_is_the_inverse_of_compressing(
        body in prop::collection::vec(any::<u8>(), 0..5000), room in 1..3000_usize, cap in 0..6000_usize, which in 0..4_usize,
    ) {
        let encoding = ALL[which];
        let packed = compress(encoding, &[Bytes::from(body.clone())]).expect("compresses");
        let mut packed_rope = Rope::default();
        for piece in packed.chunks(700) {
            packed_rope.push(Bytes::copy_from_slice(piece));
        }
        let mut inflater = Inflater::new(encoding, packed_rope, cap).expect("a decoder");
        let mut steps = 0;
        let end = loop {
            match inflater.step(room) {
                Ok(InflateStep::More) => steps += 1,
                other => break other,
            }
            prop_assert!(steps <= body.len() / room + 1);
        };
        if body.len() > cap {
            prop_assert_eq!(end, Err(InflateError::TooLarge));
            prop_assert!(inflater.output_len() <= cap + 1);
        } else {
            prop_assert_eq!(end, Ok(InflateStep::Done));
            prop_assert_eq!(&inflater.into_bytes()[..], &body[..]);
        }
    }

    /// Random input causes neither a panic nor an endless body.
    #[test]
    fn noise_ends(body in prop::collection::vec(any::<u8>(), 0..300), which in 1..4_usize) {
        let mut inflater = Inflater::new(ALL[which], rope(&[body]), 1 << 16).expect("a decoder");
        while inflater.step(4096) == Ok(InflateStep::More) {}
    }
}

/// A connection that was asked to leave but received a request first no longer counts as leaving, so that a new client
/// does not wait for it while others could be asked. (Regression test: each new client waited half a second in the
/// accept loop.)
#[test]
fn who_got_something_to_do_does_not_leave() {
    let room: Arc<super::activity::PortConnections> = Arc::default();
    let (one, _rest) = super::activity::track_connection(&room);
    assert!(room.ask_idle_to_leave() && room.has_leaving());
    let hand = one.begin_request(http::Version::HTTP_11);
    assert!(!room.has_leaving() && !room.ask_idle_to_leave(), "a request crossed it");
    drop(hand);
    assert!(room.has_leaving() && room.ask_idle_to_leave(), "now it goes");
}

/// A request is in progress until its response is ready, and again while the response has no data ready; a response
/// that the client does not read is not.
#[test]
fn a_connection_rests_when_it_is_the_clients_turn() {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use http_body::{Body, Frame};
    use http_body_util::{BodyExt as _, StreamBody};

    let (activity, mut rest) = super::activity::track_connection(&Arc::default());
    assert!(rest.is_idle());
    let begin = || activity.begin_request(http::Version::HTTP_11);
    let (first, second) = (begin(), begin());
    drop(first);
    assert!(!rest.is_idle(), "the other request is in hand");
    let frame = Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x")));
    let frames = futures_util::stream::iter([frame]);
    let frames = futures_util::StreamExt::chain(frames, futures_util::stream::pending());
    let body = listen::ReplyBody::new(StreamBody::new(frames).map_err(Into::into));
    let mut sent = second.track_response(http::Response::new(body)).into_body();
    assert!(rest.is_idle(), "nobody took anything yet");
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut sent).poll_frame(&mut context), Poll::Ready(Some(Ok(_)))));
    assert!(rest.is_idle(), "the client has not taken the first frame");
    assert!(Pin::new(&mut sent).poll_frame(&mut context).is_pending());
    assert!(!rest.is_idle(), "the second frame is still to be made");
    drop(sent);
    assert!(rest.is_idle());
}

#[test]
fn a_believable_size_is_reserved_and_an_absurd_one_is_not() {
    let packed = compress(ContentEncoding::Gzip, &[Bytes::from(vec![7; 100_000])]).expect("compresses");
    let hint = |bytes: &[u8], cap| {
        Inflater::new(ContentEncoding::Gzip, rope(&[bytes.to_vec()]), cap).expect("a decoder").size_hint()
    };
    assert_eq!(hint(&packed, 1 << 20), 100_000);
    assert_eq!(hint(&packed, 1000), 1000);
    let mut lie = packed.to_vec();
    let end = lie.len();
    lie[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(hint(&lie, 1 << 30), lie.len() * 4);
}

#[test]
fn encodings_are_read_without_case_and_only_ours() {
    for encoding in ALL {
        assert_eq!(ContentEncoding::parse(encoding.as_str()), Some(encoding));
        assert_eq!(ContentEncoding::parse(&encoding.as_str().to_uppercase()), Some(encoding));
    }
    assert_eq!(ContentEncoding::parse(""), Some(ContentEncoding::Identity));
    assert_eq!(ContentEncoding::parse("x-gzip"), Some(ContentEncoding::Gzip));
    for other in ["snappy", "gzip, zstd", "br", "x-deflate"] {
        assert_eq!(ContentEncoding::parse(other), None);
    }
}

#[test]
fn small_frames_are_copied_together() {
    let mut rope = Rope::default();
    for _ in 0..100 {
        rope.push(Bytes::from_static(b"x"));
    }
    assert!(!rope.is_split(), "a hundred frames of a byte are one piece");
}

#[test]
fn endpoints_are_host_and_port() {
    let literal = |text: &str| Endpoint::parse(text).expect("an endpoint").socket_addr().map(|at| at.to_string());
    assert_eq!(literal("127.0.0.1:4317").as_deref(), Some("127.0.0.1:4317"));
    assert_eq!(literal("localhost:4317").as_deref(), Some("127.0.0.1:4317"));
    assert_eq!(literal("[::1]:4317").as_deref(), Some("[::1]:4317"));
    assert_eq!(literal(":4317").as_deref(), Some("0.0.0.0:4317"));
    assert_eq!(literal("gateway.internal:4317"), None);
    for text in ["127.0.0.1:4317", "[::1]:4317", "gateway:0"] {
        assert_eq!(Endpoint::parse(text).expect("an endpoint").to_string(), text);
    }
    for wrong in ["", "4317", "127.0.0.1", "a:70000", "a:x", "::1:4317", "[::g]:1", "http://a:1", "a b:1", "a/b:1"] {
        assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn proxies_are_chosen_as_the_variables_say() {
    let proxies = |env: &'static [(&'static str, &'static str)]| {
        ProxyRules::from_env(&move |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    };
    let found = |proxies: &ProxyRules, uri: &'static str| {
        proxies.proxy_for(&http::Uri::from_static(uri)).map(|rule| rule.uri().to_string())
    };
    let both = proxies(&[
        ("HTTPS_PROXY", "http://secure.test:3128"),
        ("http_proxy", "plain.test:3129"),
        ("NO_PROXY", "direct.test, 10.0.0.0/8"),
    ]);
    let Ok(both) = both else { panic!("unreadable") };
    assert_eq!(found(&both, "https://a.test").as_deref(), Some("http://secure.test:3128/"));
    assert_eq!(found(&both, "http://a.test").as_deref(), Some("http://plain.test:3129/"));
    for direct in [
        "https://direct.test",
        "https://sub.direct.test",
        "https://10.1.2.3",
        "https://localhost",
        "http://127.0.0.1:1",
        "https://[::1]:1",
        "https://[::ffff:127.0.0.1]:1",
    ] {
        assert_eq!(found(&both, direct), None, "{direct}");
    }
    let Ok(all) = proxies(&[("ALL_PROXY", "http://all.test:1")]) else { panic!("unreadable") };
    assert_eq!(found(&all, "https://a.test").as_deref(), Some("http://all.test:1/"));
    let error = proxies(&[("https_proxy", "socks5://user:SECRET@a.test:1")]).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("HTTPS_PROXY: only http:// proxies are supported"));
    for unreadable in ["http://user:p\u{e4}sswort@proxy:3128", "http://pro xy:3128", "http://", "proxy:port"] {
        let error = ProxyRules::from_env(&|name: &str| (name == "HTTP_PROXY").then(|| unreadable.to_owned())).err();
        let error = error.map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("HTTP_PROXY: must be [http://][user:password@]host[:port]"),
            "never past the proxy that policy asks for"
        );
    }
    assert_eq!(found(&ProxyRules::direct(), "https://a.test"), None);
}

/// A proxy's password is meant for the proxy only: gRPC goes through a tunnel or directly, so the back end would be
/// the one to read it.
#[test]
fn a_proxys_password_never_goes_to_the_back_end() {
    let env = |name: &str| (name == "HTTP_PROXY").then(|| "http://user:pass@proxy.test:3128".to_owned());
    let Ok(proxies) = ProxyRules::from_env(&env) else { panic!("unreadable") };
    let proxies = Arc::new(proxies);
    for (http2_only, given) in [(true, false), (false, true)] {
        let settings = client::ClientSettings { tls: None, http2_only };
        let services = SharedServices { proxies: Arc::clone(&proxies), ..crate::testing::services() };
        let client = HttpClient::build(&settings, &services).expect("a client");
        assert_eq!(client.proxy_authorization(&http::Uri::from_static("http://signoz.test:4317/x")).is_some(), given);
        assert!(client.proxy_authorization(&http::Uri::from_static("https://signoz.test/x")).is_none());
    }
}

/// The client can't send while tollgate processes the bytes it has. That time must not make the client count as slow,
/// or a busy gateway would end the uploads that came first.
#[tokio::test]
async fn what_we_take_long_for_is_not_the_clients_slowness() {
    let limits =
        BodyLimits { wire: 1 << 24, inflated: 1 << 24, idle: Duration::from_secs(9), total: Duration::from_secs(60) };
    // Each piece yields to other tasks, as data from a socket does.
    let pieces = futures_util::stream::unfold(0, |n| async move {
        tokio::task::yield_now().await;
        (n < 30).then(|| (Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(&[7; 1024]))), n + 1))
    });
    let mut body = http_body_util::StreamBody::new(Box::pin(pieces));
    let places = SlowUploads::default();
    let (mut taken, mut frames) = (0, collect::BodyFrames::new(&mut body, &limits, &places));
    while let Some(data) = frames.next(|| true).await.expect("not ended") {
        frames.run_uncounted(tokio::time::sleep(Duration::from_millis(120))).await;
        taken += data.len();
    }
    assert_eq!(taken, 30 * 1024);
}

/// Each address has one class, and only an unforwarded one of loopback itself is local: neither 127.0.0.6, which
/// sidecars forward from, nor a missing address, nor an IPv4 address that IPv6 wraps wrongly.
#[test]
fn addresses_have_classes() {
    let of = |ip: &str, is_forwarded| ClientAddress {
        ip: ip.parse::<std::net::IpAddr>().expect("an address"),
        is_forwarded,
    };
    for (ip, class) in [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("127.0.0.6", "proxy"),
        ("10.255.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.32.0.1", "public"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "private"),
        ("100.64.0.1", "private"),
        ("100.127.255.255", "private"),
        ("100.128.0.1", "public"),
        ("fd00::1", "private"),
        ("fe80::1", "private"),
        ("2001:db8::1", "public"),
        ("203.0.113.1", "public"),
        ("::ffff:127.0.0.1", "public"),
    ] {
        assert_eq!((of(ip, false).class(), of(ip, false).is_local()), (class, class == "loopback"), "{ip}");
        let forwarded = if class == "loopback" { "proxy" } else { class };
        assert_eq!((of(ip, true).class(), of(ip, true).is_local()), (forwarded, false), "{ip}");
    }
    let missing = ClientAddress::of(&http::Extensions::new());
    assert_eq!((missing.class(), missing.is_local()), ("public", false));
}
