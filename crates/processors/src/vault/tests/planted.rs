//! Tests of planted index lines, and of `vault get` by lines.

use serde_json::json;

use super::super::options::StoreLayout;
use super::whole::{Gateway, gateway_with, turn};
use audit::read::{IndexQuery, LeafId, LineSelection};
use vault::chain::note::VerifyKey;
use vault::index_row::IndexRow;
use vault::testing::journal::signing_key;

/// A planted line may carry another line's number, or assign a fragment to another session. Without signing keys,
/// everything that decrypts is printed and the conflict is reported; with the writers' key only signed lines are used.
#[tokio::test]
async fn planted_lines_answer_for_no_others() {
    for layout in [StoreLayout::Session, StoreLayout::Packed] {
        let mut gateway = gateway_with(|config| config.layout = layout);
        gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x")]}));
        let mut other = turn(3, &[("user", "CANARY three")], "y");
        other["trace"] = json!(2);
        gateway.send_stored(json!([other])).await;
        let rows = gateway.rows().await;
        let [one, three] = &rows[..] else { panic!("{} lines", rows.len()) };
        let leaf = format!("{}/{}/{}", three.tail.writer, three.tail.epoch, three.leaf);
        let ask = async |keys: &[VerifyKey]| {
            let leaf = Some(LeafId::parse(&leaf).expect("a leaf"));
            gateway.get_lines(&LineSelection { query: IndexQuery::default(), leaf, keys: keys.to_vec() }).await
        };
        let keys = [signing_key().public().clone()];
        for keys in [&[][..], &keys] {
            let (got, text) = ask(keys).await;
            assert!(got.is_ok() && text.contains("CANARY three"), "{layout:?}: {got:?} {text}");
        }
        // The number of one line, the place of another.
        let planted = IndexRow { leaf: three.leaf, ..one.clone() };
        plant(&gateway, "2020-01-01", &planted);
        let (got, _) = ask(&[]).await;
        assert!(got.expect_err("told").to_string().contains("reuse the numbers of other"), "{layout:?}");
        let (got, text) = ask(&keys).await;
        assert!(text.contains("CANARY three") && !text.contains("CANARY one"), "{layout:?}: {text}");
        assert!(got.expect_err("told").to_string().contains("not signed by a given key"), "{layout:?}");
    }
}

/// A planted line that assigns a fragment of a packed object to another session does not hide the fragment.
#[tokio::test]
async fn a_fragment_that_two_sessions_claim_is_opened() {
    let mut gateway = gateway_with(|config| config.layout = StoreLayout::Packed);
    gateway.send_stored(json!([turn(1, &[("user", "CANARY one")], "x")])).await;
    let rows = gateway.rows().await;
    for session in ["a-1", "zz-9"] {
        let mut planted = rows[0].clone();
        planted.leaf += if session == "a-1" { 900 } else { 901 };
        planted.tail.session_id = Some(session.to_owned());
        plant(&gateway, "2020-01-02", &planted);
    }
    let query = IndexQuery { trace: rows[0].tail.trace_id.clone(), ..IndexQuery::default() };
    let wanted = LineSelection { query, leaf: None, keys: Vec::new() };
    let (_, text) = gateway.get_lines(&wanted).await;
    assert_eq!(text.matches("CANARY one").count(), 1, "{text}");
    // An unreadable index object is reported, whatever else is readable.
    gateway.plant("index/v1/account=default/dt=2020-01-03/gw-1-E-0000000000.ndjson.zst", "junk");
    let (got, text) = gateway.get_lines(&wanted).await;
    let why = got.expect_err("told");
    assert!(
        why.to_string().contains("not read: ") && why.to_string().contains("2020-01-03") && !text.is_empty(),
        "{why}"
    );
}

/// Writes an index object with one line where a gateway puts its own objects of `day`.
fn plant(gateway: &Gateway, day: &str, row: &IndexRow) {
    let line = serde_json::to_string(row).expect("a line") + "\n";
    let file = format!("{}-{}-{:010}.ndjson.zst", row.tail.writer, row.tail.epoch, row.leaf);
    let bytes = zstd::bulk::compress(line.as_bytes(), 3).expect("zstd");
    gateway.plant(&format!("index/v1/account=default/dt={day}/{file}"), bytes);
}
