use super::digest::{ChainDigest, DigestLink};
use super::note::{Checkpoint, SigningKey, VerifyKey, open_note};
use super::position::SavedChains;
use super::tree::{Frontier, NodeHash, leaf_hash};
use kernel::rng::SeededRng;
use kernel::secret::Secret;

fn leaves() -> Vec<NodeHash> {
    let data: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    data.iter().map(|leaf| leaf_hash(leaf)).collect()
}

fn tree(leaves: &[NodeHash]) -> Frontier {
    let mut tree = Frontier::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

/// Roots are those of Certificate Transparency's test data; with another hash no other tool could verify them.
#[test]
fn roots_are_those_of_rfc_6962() {
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves = leaves();
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(kernel::hex::encode(&tree(&leaves[..size]).root()), *root, "{size} leaves");
    }
}

/// A serialised frontier continues where it was; an impossible one is refused.
#[test]
fn frontiers_are_written_down() {
    let leaves = leaves();
    for size in 0..8 {
        let text = serde_json::to_string(&tree(&leaves[..size])).expect("json");
        let mut back: Frontier = serde_json::from_str(&text).expect("a frontier");
        leaves[size..].iter().for_each(|leaf| back.push(*leaf));
        assert_eq!(back, tree(&leaves));
    }
    assert!(serde_json::from_str::<Frontier>(r#"{"size":3,"nodes":[]}"#).is_err());
}

/// Keys and notes are those of Go's `note` package (its own example).
#[test]
fn notes_are_those_of_others() {
    let secret = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let key = SigningKey::from_secret(&Secret::new(secret.to_owned())).expect("key");
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(key.public().to_string(), public);
    assert_eq!(VerifyKey::parse(public).as_ref(), Ok(key.public()));
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
    let note = key.sign_note(text);
    assert_eq!(note, format!("{text}\n\u{2014} PeterNeumann {signature}\n"));
    let keys = [key.public().clone()];
    assert_eq!(open_note(&note, &keys).map(|(text, _)| text), Some(text));
}

/// A note with another text, signer or key does not open.
#[test]
fn forged_notes_do_not_open() {
    let make = |name: &str, seed| {
        let text = SigningKey::generate(name, &SeededRng::new(seed)).expect("key");
        SigningKey::from_secret(&text).expect("key")
    };
    let (key, other, namesake) = (make("a", 1), make("b", 2), make("a", 3));
    let note = key.sign_note("one\n2\n");
    let keys = [other.public().clone(), key.public().clone()];
    assert!(open_note(&note, &keys).is_some());
    assert!(open_note(&note.replace("one", "two"), &keys).is_none());
    assert!(open_note(&note, &keys[..1]).is_none());
    assert!(open_note(&note, &[namesake.public().clone()]).is_none());
    assert!(open_note(&note.replace("\u{2014} a", "\u{2014} b"), &keys).is_none());
    assert!(open_note(note.trim_end(), &keys).is_none() && open_note("", &keys).is_none());
}

/// Invalid keys are refused with messages that don't quote them.
#[test]
fn keys_are_checked() {
    let secret = SigningKey::generate("vault.example", &SeededRng::new(1)).expect("key");
    assert!(SigningKey::from_secret(&Secret::new(format!("# public key\n{}\n", secret.expose()))).is_ok());
    let twice = format!("{0}\n{0}", secret.expose());
    for bad in ["", "PRIVATE+KEY+x", &secret.expose().replace("vault", "other"), &secret.expose()[..60], &twice] {
        let Err(why) = SigningKey::from_secret(&Secret::new(bad.to_owned())) else { panic!("{bad} was taken") };
        assert!(bad.is_empty() || !why.contains(bad));
    }
    assert!(VerifyKey::parse(secret.expose()).is_err_and(|why| why.contains("secret")));
    assert!(VerifyKey::parse("a+00000000+AAAA").is_err());
    assert!(SigningKey::generate("with space", &SeededRng::new(1)).is_none());
}

/// A checkpoint is parsed only in the exact form in which it was written.
#[test]
fn checkpoints_have_one_form() {
    let checkpoint = Checkpoint { origin: "a/b".to_owned(), size: 7, root: leaf_hash(b"x") };
    let text = checkpoint.text();
    assert_eq!(Checkpoint::parse(&text), Some(checkpoint));
    for bad in [
        text.replace('7', "07"),
        text.replace('7', "+7"),
        format!("{text}more\n"),
        text.replace('=', ""),
        String::new(),
    ] {
        assert_eq!(Checkpoint::parse(&bad), None, "{bad}");
    }
}

/// A digest of a version without `erasures` is read and written unchanged, byte for byte, because its signature covers
/// these bytes, and so are saved positions. One with erasures is, too, and an older program, which ignores unknown
/// fields of `counters`, can read it.
#[test]
fn digests_without_erasures_are_as_before() {
    const COUNTERS: &str = r#""counters":{"acked":4,"uploaded":3,"pending":1,"gaps":0,"damaged":0}"#;
    let before = format!(
        r#"{{"v":1,"account":"default","writer":"gw","epoch":"E0001","n":0,"start":"2026-11-20T05:00:00.000Z","end":"2026-11-20T05:01:00.000Z","prev":null,"reason":"first","tree_size":3,"root":"AAAA","index":null,"objects":[],{COUNTERS},"note":"n"}}"#
    );
    let mut digest: ChainDigest = serde_json::from_str(&before).expect("a digest");
    assert!(digest.counters.erasures.is_empty());
    assert_eq!(serde_json::to_string(&digest).expect("JSON"), before);
    let link = DigestLink { epoch: "E0009".to_owned(), n: 1, sha256: "ab".repeat(32) };
    digest.counters.erasures.insert("eraser".to_owned(), link);
    let after = serde_json::to_string(&digest).expect("JSON");
    let named =
        format!(r#""damaged":0,"erasures":{{"eraser":{{"epoch":"E0009","n":1,"sha256":"{}"}}}}"#, "ab".repeat(32));
    assert_eq!(after, before.replace(r#""damaged":0"#, &named));
    assert!(serde_json::from_str::<ChainDigest>(&after).expect("a digest") == digest);
    let more = after.replace(r#""damaged":0"#, r#""damaged":0,"later":[1]"#);
    assert!(serde_json::from_str::<ChainDigest>(&more).is_ok(), "unknown counters are skipped");
    let positions = r#"{"v":1,"chains":[]}"#;
    let saved: SavedChains = serde_json::from_str(positions).expect("positions");
    assert_eq!(serde_json::to_string(&saved).expect("JSON"), positions);
}
