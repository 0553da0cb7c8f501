//! Fewer shares than the threshold open nothing and say nothing; any that many do; a wrong share gives no key.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

const PLACE: &str = "acme/red/s0/2026-11-20";

fn terms(threshold: u8) -> ShareTerms<'static> {
    ShareTerms { threshold, place: PLACE }
}

/// A key, its recipients, and their opened shares.
fn split(threshold: u8, of: usize) -> (Identity, Vec<Identity>, Vec<u8>, Vec<KeyShare>) {
    let (key, people) = (Identity::generate(), (0..of).map(|_| Identity::generate()).collect::<Vec<_>>());
    let recipients: Vec<Recipient> = people.iter().map(Identity::to_public).collect();
    let object = seal_shares(&key, &recipients, terms(threshold)).expect("sealed");
    let envelope = ShareEnvelope::parse(&object).expect("an envelope");
    let shares = people.iter().flat_map(|one| envelope.open(std::slice::from_ref(one)).expect("opened")).collect();
    (key, people, object, shares)
}

fn public(identity: &Identity) -> String {
    identity.to_public().to_string()
}

/// A copy of the share with another value, whose changes don't cancel each other in several shares.
fn changed(share: &KeyShare) -> KeyShare {
    let mut value = STANDARD.decode(share.y.expose()).expect("base64");
    (1_u8..).zip(&mut value).for_each(|(n, byte)| *byte ^= n.wrapping_mul(share.x).wrapping_mul(37) | 1);
    KeyShare { y: Secret::new(STANDARD.encode(value)), ..share.clone() }
}

/// Of every split with up to six shares, each selection opens the key if it is large enough, in any order, and else
/// says how many it needs.
#[test]
fn any_threshold_of_shares_opens() {
    for of in 2..=6_u8 {
        for threshold in 2..=of {
            let (key, _, _, shares) = split(threshold, usize::from(of));
            assert_eq!(shares.iter().map(|share| share.x).collect::<Vec<_>>(), (1..=of).collect::<Vec<_>>());
            for selection in 1..1_u32 << of {
                let mut selected: Vec<KeyShare> =
                    shares.iter().filter(|share| selection >> (share.x - 1) & 1 == 1).cloned().collect();
                selected.reverse();
                match combine_shares(&selected) {
                    Ok(opened) => {
                        assert!(selected.len() >= usize::from(threshold) && public(&opened) == public(&key));
                    }
                    Err(why) => assert_eq!(why, CombineFailure::TooFew { have: selected.len(), threshold }),
                }
            }
        }
    }
}

/// The object names the key and the numbers, each recipient opens one share, and a stranger none.
#[test]
fn each_recipient_opens_one_share() {
    let (key, people, object, shares) = split(2, 3);
    let envelope = ShareEnvelope::parse(&object).expect("an envelope");
    assert!(ShareEnvelope::is_envelope(&object) && object.len() < 8 << 10);
    assert_eq!((envelope.threshold, envelope.of, &envelope.key_id), (2, 3, &key_id(&public(&key))));
    assert!(shares.iter().all(|share| share.place == PLACE && share.public == public(&key) && share.of == 3));
    assert!(envelope.open(&[Identity::generate()]).expect("opened").is_empty());
    assert_eq!(envelope.open(&people).expect("opened").len(), 3);
    // no part of the secret is in the object or, as text, in one share
    let secret = key.to_string();
    assert!(!String::from_utf8_lossy(&object).contains(secret.expose_secret()));
    assert!(
        !shares
            .iter()
            .any(|share| STANDARD.decode(share.y.expose()).expect("base64") == secret.expose_secret().as_bytes())
    );
}

/// A repeated share counts once; a changed one, one of another split of the same key, one of another key, and two
/// values of one position give no key.
#[test]
fn wrong_shares_give_no_key() {
    let (key, people, _, shares) = split(2, 3);
    let (one, two, three) = (shares[0].clone(), shares[1].clone(), shares[2].clone());
    let combine = |shares: &[&KeyShare]| {
        combine_shares(&shares.iter().map(|share| (*share).clone()).collect::<Vec<_>>()).map(|key| public(&key))
    };
    assert_eq!(combine(&[&one, &one]), Err(CombineFailure::TooFew { have: 1, threshold: 2 }));
    assert_eq!(combine(&[&one, &one, &two, &two]), Ok(public(&key)));
    assert_eq!(combine(&[&one, &changed(&two)]), Err(CombineFailure::Wrong));
    assert_eq!(combine(&[&one, &changed(&one)]), Err(CombineFailure::TooFew { have: 1, threshold: 2 }));
    assert_eq!(combine(&[]), Err(CombineFailure::Mixed));
    let recipients: Vec<Recipient> = people.iter().map(Identity::to_public).collect();
    let again = seal_shares(&key, &recipients, terms(2)).expect("sealed");
    let again = ShareEnvelope::parse(&again).and_then(|envelope| envelope.open(&people[1..2])).expect("a share");
    assert_eq!(combine(&[&one, &again[0]]), Err(CombineFailure::Mixed));
    assert_eq!(combine(&[&one, &split(2, 3).3[1]]), Err(CombineFailure::Mixed));
    // a lie about the numbers, the place, or the key does not make fewer shares enough, nor another key
    let lies = [
        KeyShare { threshold: 3, ..two.clone() },
        KeyShare { place: "acme/red/s1/2026-11-20".to_owned(), ..two.clone() },
        KeyShare { public: public(&Identity::generate()), ..two.clone() },
    ];
    for lie in &lies {
        assert_eq!(combine(&[&one, lie]), Err(CombineFailure::Mixed));
        assert_eq!(combine(&[lie, &one, &three]), Ok(public(&key)), "enough others are right");
    }
    let stranger = public(&Identity::generate());
    let [one, two] = [one, two].map(|share| KeyShare { public: stranger.clone(), ..share });
    assert_eq!(combine(&[&one, &two]), Err(CombineFailure::Wrong), "the secret is not that of the named key");
    let moved = KeyShare { x: 3, ..two.clone() };
    assert_eq!(combine(&[&one, &moved]), Err(CombineFailure::Wrong));
    for y in ["", "%", "AA=="] {
        assert_eq!(
            combine(&[&one, &KeyShare { y: Secret::new(y.to_owned()), ..two.clone() }]),
            Err(CombineFailure::Wrong)
        );
    }
}

/// Surplus shares that are wrong do no harm, wherever they are, until too few right ones are left; the search ends.
#[test]
fn surplus_wrong_shares_do_no_harm() {
    let (key, _, _, shares) = split(3, 6);
    for wrong in 0..1_u32 << 6 {
        let shares: Vec<KeyShare> = shares
            .iter()
            .map(|share| if wrong >> (share.x - 1) & 1 == 1 { changed(share) } else { share.clone() })
            .collect();
        let opened = combine_shares(&shares).map(|key| public(&key));
        match wrong.count_ones() <= 3 {
            true => assert_eq!(opened, Ok(public(&key)), "{wrong:b}"),
            false => assert_eq!(opened, Err(CombineFailure::Wrong), "{wrong:b}"),
        }
    }
    // another value of each position, before and after the right one
    let both: Vec<KeyShare> = shares.iter().flat_map(|share| [changed(share), share.clone()]).collect();
    assert_eq!(combine_shares(&both).map(|key| public(&key)), Ok(public(&key)));
    let (_, _, _, most) = split(8, 16);
    let hopeless: Vec<KeyShare> = most.iter().map(changed).chain(most.iter().take(7).cloned()).collect();
    assert!(combine_shares(&hopeless).is_err_and(|why| why == CombineFailure::Wrong));
}

/// Thresholds and recipients with which one person could open alone, or nobody could, are not sealed.
#[test]
fn faulty_terms_are_not_sealed() {
    let key = Identity::generate();
    let people: Vec<Recipient> = (0..17).map(|_| Identity::generate().to_public()).collect();
    for (threshold, recipients) in
        [(0, &people[..2]), (1, &people[..2]), (3, &people[..2]), (2, &people[..1]), (2, &people)]
    {
        assert_eq!(seal_shares(&key, recipients, terms(threshold)), Err(SealFailed::Internal));
    }
    let twice = [people[0].clone(), people[0].clone()];
    assert_eq!(seal_shares(&key, &twice, terms(2)), Err(SealFailed::Internal), "one person with two shares");
    let largest =
        seal_shares(&key, &people[..16], ShareTerms { threshold: 16, place: &"p".repeat(800) }).expect("sealed");
    assert!(largest.len() < 64 << 10, "readers take key objects of 64 KiB");
}

/// Each share alone has every value equally often, also those that a share of other libraries never had: the
/// coefficients have no bias, from which a share would say something about the secret. (The bound is far beyond chance:
/// 256 values, 74,000 draws, each expected 289 times.)
#[test]
fn one_share_says_nothing() {
    let text = "AGE-SECRET-KEY-1".repeat(5);
    let mut counts = [0_u32; 256];
    for _ in 0..925 {
        let shares = Gf256::split_bytes(2, 2, text.as_bytes(), &mut SystemRandomness).expect("split");
        // what the share adds to each known byte of the secret
        shares[0][1..].iter().zip(text.bytes()).for_each(|(y, byte)| counts[usize::from(y ^ byte)] += 1);
    }
    assert!(counts.iter().all(|count| (170..440).contains(count)), "{counts:?}");
}

/// The values are those of the field of AES: a share that was computed by hand, with the coefficient 2.
#[test]
fn the_field_is_that_of_aes() {
    // s = 0x57, a = 0x02: y(1) = s ^ a, y(2) = s ^ 0x04; with 0x83 * 2 = 0x1d the reduction shows (FIPS 197, 4.2)
    assert_eq!(Gf256::combine_bytes([vec![1, 0x55], vec![2, 0x53]]).expect("combined"), [0x57]);
    assert_eq!(Gf256::combine_bytes([vec![1, 0x57 ^ 0x83], vec![2, 0x57 ^ 0x1d]]).expect("combined"), [0x57]);
}

/// Cut, changed or invented envelopes and shares are errors, never a panic and never a key.
#[test]
fn hostile_objects_are_refused() {
    let (_, people, object, shares) = split(2, 3);
    let json = String::from_utf8(object.clone()).expect("text");
    for cut in 0..object.len() - 1 {
        assert!(ShareEnvelope::parse(&object[..cut]).is_err());
    }
    let replaced = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        ShareEnvelope::parse(json.replacen(from, to, 1).as_bytes()).map(|_| ())
    };
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("\"threshold\":2", "\"threshold\":1"),
        ("\"threshold\":2", "\"threshold\":0"),
        ("\"threshold\":2", "\"threshold\":4"),
        ("\"threshold\":2", "\"threshold\":300"),
        ("\"of\":3", "\"of\":2"),
        ("\"of\":3", "\"of\":255"),
        ("\"x\":1", "\"x\":2"),
        ("\"x\":1", "\"x\":0"),
        ("\"x\":1", "\"x\":4"),
        ("\"set\"", "\"more\":1,\"set\""),
    ] {
        assert!(replaced(from, to).is_err(), "{from} {to}");
    }
    // an envelope whose parts are genuine, but not of one split
    let other = ShareEnvelope::parse(&split(2, 3).2).expect("an envelope");
    let mut mixed = ShareEnvelope::parse(&object).expect("an envelope");
    mixed.set = other.set;
    assert!(mixed.open(&people).is_err_and(|why| why == "a share contradicts its envelope"));
    let mut swapped = ShareEnvelope::parse(&object).expect("an envelope");
    swapped.shares.iter_mut().for_each(|share| share.x = 4 - share.x);
    assert!(swapped.open(&people).is_err());
    let mut garbage = ShareEnvelope::parse(&object).expect("an envelope");
    "AAAA".clone_into(&mut garbage.shares[1].age);
    let opened = garbage.open(&people).expect("the genuine shares");
    assert_eq!(opened.iter().map(|share| share.x).collect::<Vec<_>>(), [1, 3], "the others are enough");
    let line = shares[0].to_line().expect("a line");
    for cut in 0..line.len() - 2 {
        assert!(KeyShare::parse(&String::from_utf8_lossy(&line[..cut])).is_err());
    }
    assert!(KeyShare::parse("{\"v\":1}").is_err_and(|why| why == "it is not a share of a key"));
}

proptest! {
    /// Any bytes are parsed without a panic.
    #[test]
    fn any_bytes_parse(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(ShareEnvelope::parse(&bytes).is_err());
        prop_assert!(KeyShare::parse(&text).is_err());
    }
}

/// The program in the auditor's guide gives the key, and says which shares are missing: nobody needs tollgate to
/// combine. (It failed with the polynomial 0x11d in place of 0x11b.)
#[test]
fn the_guides_program_combines() {
    let guide = std::fs::read_to_string(fixtures::at("docs/auditors-guide.md")).expect("the guide");
    let (_, after) = guide.split_once("```python\n").expect("a program");
    let (program, _) = after.split_once("```").expect("its end");
    assert!(program.lines().count() <= 40, "short enough to read");
    let run = |shares: &[&KeyShare]| {
        let mut child = Command::new("python3");
        child.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("python3");
        let mut input = child.stdin.take().expect("stdin");
        shares.iter().for_each(|share| input.write_all(&share.to_line().expect("a line")).expect("written"));
        drop(input);
        let output = child.wait_with_output().expect("an end");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (text(output.stdout), text(output.stderr), output.status.success())
    };
    let ((one, _, _, ones), (two, _, _, twos)) = (split(2, 3), split(3, 5));
    let shares = [&ones[2], &twos[4], &twos[1], &ones[0], &twos[2], &ones[0]];
    let (out, err, ended_well) = run(&shares);
    let mut keys: Vec<&str> = out.lines().collect();
    let (one, two) = (one.to_string(), two.to_string());
    let mut expected = [one.expose_secret(), two.expose_secret()];
    keys.sort_unstable();
    expected.sort_unstable();
    assert!(ended_well && keys == expected, "{err}");
    let (out, err, ended_well) = run(&[&ones[1], &twos[0], &twos[3]]);
    assert!(!ended_well && out.is_empty() && err.contains("1 of 2") && err.contains("2 of 3"), "{err}");
}
