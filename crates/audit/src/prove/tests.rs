use super::*;
use crate::testing::site::Site;
use vault::testing::journal::signing_key;

async fn site() -> (Site, Vault) {
    let mut site = Site::new(1);
    for n in 0..5 {
        site.send("default", &format!("s{}", n % 2), &format!("text {n}"));
        site.minutes(3).await;
    }
    assert!(site.uploader.drain().await);
    let vault = Vault::new(site.store.clone(), "", None);
    (site, vault)
}

fn leaf(number: u64) -> ProofRequest {
    ProofRequest { leaves: vec![format!("gw/E0000/{number:012}")], ..ProofRequest::default() }
}

fn keys() -> Vec<VerifyKey> {
    vec![signing_key().public().clone()]
}

/// Every line can be proved, and the proof, which includes the fragment, can be checked with the file and the key
/// alone.
#[tokio::test]
async fn every_line_is_proved() {
    let (_site, vault) = site().await;
    for number in 0..10 {
        let file = prove(&vault, &leaf(number), &keys()).await.expect("proved").file;
        let text = serde_json::to_string(&file).expect("json");
        let checked = check_proof_file(&text, &keys(), &[]).expect("holds");
        assert_eq!(checked[0].leaf, format!("gw/E0000/{number:012}"));
        assert_eq!(checked[0].line, file.proofs[0].line);
        // lines alternate between content and none
        assert_eq!(file.proofs[0].fragment.is_some(), number % 2 == 0);
    }
    assert!(prove(&vault, &leaf(10), &keys()).await.is_err_and(|why| why.contains("not in any digest")));
    let session = ProofRequest { session: Some("s0".to_owned()), ..ProofRequest::default() };
    let file = prove(&vault, &session, &keys()).await.expect("proved").file;
    assert_eq!(file.proofs.len(), 6);
    check_proof_file(&serde_json::to_string(&file).expect("json"), &keys(), &[]).expect("holds");
    // a turn number from `replay --turn` is not a turn id: the error lists the client's ids, or says that there are
    // none
    let turn = ProofRequest { turn_id: Some("2".to_owned()), ..session };
    let why = prove(&vault, &turn, &keys()).await.expect_err("no such turn");
    assert!(why.contains("turn id \"2\"") && why.contains("the client reported no turn ids: give the leaves instead (`vault replay --json` lists them for each turn)"), "{why}");
}

/// Each account numbers its lines from 0: a number or a session name in several accounts is ambiguous without
/// `--account`, and a proof covers one account only.
#[tokio::test]
async fn accounts_are_not_mixed() {
    let mut site = Site::new(1);
    for account in ["default", "team"] {
        site.send(account, "s0", account);
    }
    site.send("default", "s1", "alone");
    assert!(site.uploader.drain().await);
    let vault = Vault::new(site.store.clone(), "", None);
    let session = |id: &str| ProofRequest { session: Some(id.to_owned()), ..ProofRequest::default() };
    for wanted in [leaf(0), session("s0")] {
        let why = prove(&vault, &wanted, &keys()).await.expect_err("whose?");
        assert!(why.contains("2 accounts") && why.contains("--account with one of default, team"), "{why}");
        for account in ["default", "team"] {
            let wanted = ProofRequest { account: Some(account.to_owned()), ..wanted.clone() };
            let file = prove(&vault, &wanted, &keys()).await.expect("proved").file;
            assert!(!file.proofs.is_empty());
            for proof in &file.proofs {
                let row: IndexRow = serde_json::from_str(&proof.line).expect("a line");
                assert_eq!(row.tail.account, account);
            }
            check_proof_file(&serde_json::to_string(&file).expect("json"), &keys(), &[]).expect("holds");
        }
    }
    assert_eq!(prove(&vault, &session("s1"), &keys()).await.expect("proved").file.proofs.len(), 2);
}

/// Too many lines for one file are refused, with their number: a partial proof would look like a complete one.
#[tokio::test]
async fn nothing_is_cut_silently() {
    let mut site = Site::new(1);
    for _ in 0..=MAX_LEAVES / 2 {
        site.send("default", "s0", "text");
    }
    assert!(site.uploader.drain().await);
    let vault = Vault::new(site.store.clone(), "", None);
    let wanted = ProofRequest { session: Some("s0".to_owned()), ..ProofRequest::default() };
    let why = prove(&vault, &wanted, &keys()).await.expect_err("too many");
    assert!(why.contains("102 lines") && why.contains("at most 100 can be proved at once"), "{why}");
}

/// Objects planted in place of digests, with a genuinely signed note, don't block a proof: neither malformed ones nor
/// those with sizes near 2^64.
#[tokio::test]
async fn planted_digests_are_passed_over() {
    let (site, vault) = site().await;
    let real = site.store.0.lock().get("chain/default/gw/E0000/0000000000.json").cloned().expect("there");
    let mut digest: ChainDigest = serde_json::from_slice(&real).expect("digest");
    digest.continues = Some(vault::chain::digest::ChainContinuation { epoch: "E0000".to_owned(), leaf: u64::MAX });
    let huge = Bytes::from(serde_json::to_vec(&digest).expect("json"));
    for (name, bytes) in [
        ("chain/default/gw/E0000/9999999999.json", Bytes::from_static(b"x")),
        ("chain/default/gw/E0000/9999999998.json", huge.clone()),
        ("chain/default/gw/0AAA/0000000000.json", huge.clone()),
        ("chain/default/gw/0AAA/0000000000.json.sig", Bytes::from_static(&[0; 64])),
    ] {
        site.store.0.lock().insert(name.to_owned(), bytes);
    }
    let file = prove(&vault, &leaf(3), &keys()).await.expect("proved").file;
    check_proof_file(&serde_json::to_string(&file).expect("json"), &keys(), &[]).expect("holds");
    assert!(prove(&vault, &leaf(10), &keys()).await.is_err());
}

/// No changed proof file is valid.
#[tokio::test]
async fn a_changed_proof_does_not_hold() {
    let (_site, vault) = site().await;
    let file = prove(&vault, &leaf(4), &keys()).await.expect("proved").file;
    type Change = fn(&mut LineProof);
    let changes: [(&str, Change); 8] = [
        ("another place", |proof| proof.index += 1),
        ("another line", |proof| proof.line = proof.line.replace("\"ok\"", "\"no\"")),
        ("another tree", |proof| proof.note = proof.note.replacen("\n6\n", "\n5\n", 1)),
        ("a path of other hashes", |proof| proof.path[0] = STANDARD.encode([0; 32])),
        ("a hash too many", |proof| proof.path.push(STANDARD.encode([0; 32]))),
        ("another consistency", |proof| proof.consistency[0] = STANDARD.encode([0; 32])),
        ("an older tree as the newest", |proof| std::mem::swap(&mut proof.note, &mut proof.newest)),
        ("its fragment id or account differs from its line", |proof| proof.fragment = Some(STANDARD.encode(b"other"))),
    ];
    for (what, change) in changes {
        let mut changed = file.clone();
        change(&mut changed.proofs[0]);
        assert_ne!(changed, file, "{what}");
        let text = serde_json::to_string(&changed).expect("json");
        assert!(check_proof_file(&text, &keys(), &[]).is_err(), "{what}");
    }
    // the key in the file is not trusted
    let text = serde_json::to_string(&file).expect("json");
    let other = vault::chain::note::SigningKey::generate("vault.test", &kernel::rng::SeededRng::new(9)).expect("key");
    let other = vault::chain::note::SigningKey::from_secret(&other).expect("key").public().clone();
    assert!(check_proof_file(&text, &[other], &[]).is_err());
}

/// A proof with an anchor is reported as anchored, and is invalid against another tree of the same size.
#[tokio::test]
async fn an_anchor_is_held_against_it() {
    use crate::verify::anchor;
    let (site, vault) = site().await;
    let thief = vault::chain::note::SigningKey::generate("anchor.test", &kernel::rng::SeededRng::new(9)).expect("key");
    let signer = vault::chain::note::SigningKey::from_secret(&thief).expect("key");
    let mut heads = site.audit().await.heads;
    let text = anchor::make(&heads, "2026-11-20T12:00:00Z", &signer);
    let file = prove(&vault, &ProofRequest { anchor: Some(text), ..leaf(3) }, &keys()).await.expect("proved").file;
    let anchored = check_proof_file(&serde_json::to_string(&file).expect("json"), &keys(), &[signer.public().clone()]);
    assert!(anchored.expect("holds")[0].passed_steps.iter().any(|what| what.contains("was anchored at")));
    heads[0].root = STANDARD.encode([0; 32]);
    let other = ProofFile { anchor: Some(anchor::make(&heads, "2026-11-20T12:00:00Z", &signer)), ..file };
    let refused = check_proof_file(&serde_json::to_string(&other).expect("json"), &keys(), &[signer.public().clone()]);
    assert!(refused.is_err_and(|why| why.contains("has a different root for this tree size")));
}

/// The lines of an index object, each changed.
fn planted(site: &Site, name: &str, change: impl Fn(&str) -> String) -> Bytes {
    let bytes = site.store.0.lock().get(name).cloned().expect("there");
    let lines: Vec<String> = index::unpack_lines(name, &bytes).expect("lines").lines().map(change).collect();
    zstd::bulk::compress(lines.join("\n").as_bytes(), 3).expect("zstd").into()
}

fn index_of(site: &Site, epoch: &str) -> Vec<String> {
    let of = |name: &&String| name.starts_with("index/") && name.contains(epoch);
    site.store.0.lock().keys().filter(of).cloned().collect()
}

/// A writer can neither remove a line from a session's proof nor block a proof: neither with an object, first by name,
/// whose lines claim the session's numbers for another session, nor with a line of the session that is in no chain.
#[tokio::test]
async fn planted_lines_leave_a_session_whole() {
    let (site, vault) = site().await;
    let session = ProofRequest { session: Some("s0".to_owned()), ..ProofRequest::default() };
    let real = index_of(&site, "E0000");
    let claimed = planted(&site, &real[0], |line| line.replace("\"s0\"", "\"other\""));
    let first = "index/v1/account=default/dt=2020-01-01/gw-E0000-0000000000.ndjson.zst";
    site.store.0.lock().insert(first.to_owned(), claimed);
    let more = planted(&site, &real[0], |line| line.replacen("\"leaf\":", "\"leaf\":9000", 1));
    let last = "index/v1/account=default/dt=2026-11-20/gw-E0000-0000009000.ndjson.zst";
    site.store.0.lock().insert(last.to_owned(), more);
    let ProofResult { file, possibly_missing: missed, remarks: told } =
        prove(&vault, &session, &keys()).await.expect("proved");
    assert_eq!((file.proofs.len(), missed.len()), (6, 0), "{missed:?}");
    assert!(told.iter().any(|why| why.contains("not signed by a given key")), "{told:?}");
    check_proof_file(&serde_json::to_string(&file).expect("json"), &keys(), &[]).expect("holds");
}

/// If a signed index object is missing or changed, lines of the session may have been in it: this is reported.
#[tokio::test]
async fn what_a_session_may_lack_is_told() {
    let site = Site::of_two_epochs().await;
    let vault = Vault::new(site.store.clone(), "", None);
    let session = ProofRequest { session: Some("s0".to_owned()), ..ProofRequest::default() };
    let whole = prove(&vault, &session, &keys()).await.expect("proved");
    assert_eq!((whole.file.proofs.len(), whole.possibly_missing), (4, Vec::<String>::new()));
    let second = index_of(&site, "E0001").remove(0);
    for left in [None, Some(Bytes::from_static(b"junk"))] {
        drop(site.store.0.lock().remove(&second));
        site.store.0.lock().extend(left.map(|bytes| (second.clone(), bytes)));
        let part = prove(&vault, &session, &keys()).await.expect("proved");
        assert_eq!(part.file.proofs.len(), 2);
        assert!(
            part.possibly_missing.len() == 1 && part.possibly_missing[0].contains(&second),
            "{:?}",
            part.possibly_missing
        );
    }
    let first = index_of(&site, "E0000").remove(0);
    site.store.0.lock().remove(&first);
    let part = prove(&vault, &session, &keys()).await.expect_err("nothing is left");
    assert!(part.contains(&first) && part.contains(&second), "{part}");
}
