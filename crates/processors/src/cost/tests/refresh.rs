//! Refreshing rate tables while running: taken, refused, kept over a restart; from a file and from a URL.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::config::RatesRefresh;
use super::super::refresh::RatesRefreshTask;
use super::super::{CostConfig, CostProcessor};
use crate::testing::deps;
use genai::testing::builtin::vocabulary;
use kernel::clock::SystemClock;
use telemetry::Meter;

/// A table of two models; `input` is the price of `m` from May 2026 on.
fn table(version: &str, input: &str) -> String {
    let new = if input == "2" {
        String::new()
    } else {
        format!(r#", {{"from": "2026-05-01T00:00:00Z", "price": {{"input": "{input}"}}}}"#)
    };
    let end = if input == "2" { "" } else { r#""to": "2026-05-01T00:00:00Z", "# };
    format!(
        r#"{{"schema": 1, "version": "{version}", "currency": "USD", "per_tokens": 1000000, "providers": {{"p": {{"models": [
        {{"id": "m", "rates": [{{{end}"price": {{"input": "2"}}}}{new}]}}, {{"id": "n", "rates": [{{"price": {{"input": "1"}}}}]}}]}}}}}}"#
    )
}

struct Rig {
    meter: Meter,
    cost: Arc<CostProcessor>,
    task: Arc<RatesRefreshTask>,
}

/// A processor with a table of version 1, and its task.
fn rig(folder: &Path, refresh: RatesRefresh) -> Rig {
    let base = folder.join("base.json");
    std::fs::write(&base, table("1", "2")).unwrap();
    let config = CostConfig { rates: base.display().to_string(), refresh: Some(refresh), ..CostConfig::default() };
    let settings = config.settings().unwrap();
    let deps = deps(Arc::new(SystemClock::new()));
    let cost = CostProcessor::new("cost".into(), &settings, vocabulary(), &deps.services.meter)
        .unwrap_or_else(|error| panic!("{}", error.0));
    let cost = Arc::new(cost);
    let wanted = settings.refresh.clone().unwrap();
    let task = RatesRefreshTask::build(Arc::clone(&cost), settings, wanted, &deps, folder).unwrap();
    Rig { meter: deps.services.meter, cost, task: Arc::new(task) }
}

impl Rig {
    fn version(&self) -> String {
        self.cost.table().version().to_owned()
    }

    fn says(&self, text: &str) -> bool {
        self.meter.render().contains(text)
    }
}

fn from_file(folder: &Path) -> RatesRefresh {
    RatesRefresh { file: Some(folder.join("new.json").display().to_string()), ..RatesRefresh::default() }
}

/// A newer table replaces the old one completely. A table with a price jump, an unreadable one and a missing one change
/// nothing and are reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_taken_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path(), from_file(folder.path()));
    let path = folder.path().join("new.json");
    for (text, version, failed) in [
        (None, "1", true),
        (Some(table("2", "3")), "2", false),
        (Some(table("2", "3")), "2", false),
        (Some(table("3", "30")), "2", true),
        (Some("rubbish".to_owned()), "2", true),
        (Some(table("1", "3.5")), "2", true),
        (Some(table("3", "4")), "3", false),
    ] {
        if let Some(text) = &text {
            std::fs::write(&path, text).unwrap();
        }
        rig.task.check_source().await;
        assert_eq!(rig.version(), version, "{text:?}");
        let word = format!("tollgate_rates_refresh_failed {}", u8::from(failed));
        assert!(rig.says(&word), "{text:?}: {}", rig.meter.render());
    }
    assert!(rig.says("tollgate_rates_refreshes_total{outcome=\"taken\"} 2"));
    assert!(
        rig.says("tollgate_rates_info{version=\"3\"")
            && rig.says("tollgate_rates_refreshes_total{outcome=\"refused\"} 4")
    );
}

/// A pinned digest accepts only that table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_pins() {
    use kernel::sha256::Sha256;
    let folder = tempfile::tempdir().unwrap();
    let digest = kernel::hex::encode(&Sha256::digest(table("2", "3").as_bytes()));
    let rig = rig(folder.path(), RatesRefresh { sha256: Some(digest), ..from_file(folder.path()) });
    for (text, version) in [(table("2", "2.9"), "1"), (table("2", "3"), "2"), (table("3", "3"), "2")] {
        std::fs::write(folder.path().join("new.json"), text).unwrap();
        rig.task.check_source().await;
        assert_eq!(rig.version(), version);
    }
}

/// A signed table is kept and used at the next start without its source; a modified copy is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_table_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let key = STANDARD.encode(pair.public_key().as_ref());
    let refresh = || RatesRefresh { public_key: Some(key.clone()), ..from_file(folder.path()) };
    let (new, signature) = (folder.path().join("new.json"), folder.path().join("new.json.sig"));
    let first = rig(folder.path(), refresh());
    std::fs::write(&new, table("2", "3")).unwrap();
    std::fs::write(&signature, b"forged").unwrap();
    first.task.check_source().await;
    assert_eq!(first.version(), "1");
    std::fs::write(&signature, STANDARD.encode(pair.sign(table("2", "3").as_bytes()).as_ref())).unwrap();
    first.task.check_source().await;
    assert_eq!(first.version(), "2");
    std::fs::remove_file(&new).unwrap();
    let second = rig(folder.path(), refresh());
    second.task.load_saved_table();
    assert_eq!(second.version(), "2");
    std::fs::write(folder.path().join("rates-last-good"), table("2", "3.1")).unwrap();
    let third = rig(folder.path(), refresh());
    third.task.load_saved_table();
    assert_eq!(third.version(), "1");
}

/// From a URL: taken once, then `304` by its tag; an error status changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_asked() {
    use kernel::sha256::Sha256;
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rates.json", listener.local_addr().unwrap());
    let text = table("2", "3");
    let digest = kernel::hex::encode(&Sha256::digest(text.as_bytes()));
    let rig = rig(folder.path(), RatesRefresh { url: Some(url), sha256: Some(digest), ..RatesRefresh::default() });
    let server = async {
        let mut asked = Vec::new();
        for answer in [500, 200, 304] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            asked.push(String::from_utf8_lossy(&request[..length]).to_lowercase());
            let body = if answer == 200 { text.as_str() } else { "" };
            let head = format!(
                "HTTP/1.1 {answer} x\r\netag: \"v2\"\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + body).as_bytes()).await.unwrap();
        }
        asked
    };
    let client = async {
        let mut versions = Vec::new();
        for _ in 0..3 {
            rig.task.check_source().await;
            versions.push((rig.version(), rig.says("tollgate_rates_refresh_failed 1")));
        }
        versions
    };
    let (asked, versions) = tokio::join!(server, client);
    assert_eq!(versions, [("1".to_owned(), true), ("2".to_owned(), false), ("2".to_owned(), false)]);
    assert!(!asked[1].contains("if-none-match") && asked[2].contains("if-none-match: \"v2\""), "{asked:?}");
}
