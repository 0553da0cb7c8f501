//! Keys that several auditors open together: one of them opens nothing, in no command.

use bytes::Bytes;

use super::*;
use crate::read::{FragmentOpener, ReplayFilter, replay};
use crate::rewrap::RewrapSummary;
use crate::rewrap::tests::Copier;
use crate::testing::site::{Site, text_of};
use crate::verify::VerifyOptions;
use vault::recipients::RecipientPolicy;

/// A vault whose keys two of three people open together, with two sessions.
async fn site() -> (Site, [Identity; 3]) {
    let people = [(); 3].map(|()| Identity::generate());
    let mut site = Site::new(31);
    site.recipients = Some(RecipientPolicy::unlimited(people.iter().map(Identity::to_public)).with_threshold(Some(2)));
    site.begin(1);
    for session in ["s0", "s1"] {
        site.send("default", session, &format!("said in {session}"));
    }
    site.minutes(3).await;
    assert!(site.uploader.drain().await);
    (site, people)
}

fn of_session(session: &str) -> KeySelection {
    KeySelection { session: Some(session.to_owned()), ..KeySelection::default() }
}

/// What these people read of the session, and what they could not read.
async fn read_session(site: &Site, session: &str, people: &[&Identity], shares: Vec<KeyShare>) -> (bool, String) {
    let vault = site.vault();
    let auditors = people.iter().map(|one| (*one).clone()).collect();
    let mut opener =
        FragmentOpener { shares, ..FragmentOpener::for_openings(&vault, auditors, vec![of_session(session)]) };
    let replayed = replay(&mut opener, session, &ReplayFilter::default()).await.expect("read");
    let shown = text_of(|out| replayed.write_text(out)).contains(&format!("said in {session}"));
    (shown, replayed.unreadable.join("\n"))
}

async fn shares_of(site: &Site, session: &str, person: &Identity) -> CollectedShares {
    collect_shares(&site.vault(), std::slice::from_ref(person), &of_session(session)).await.expect("listed")
}

/// One of three can't open, and is told what is missing; any two can, and all three; two files of one person are one.
#[tokio::test]
async fn two_of_three_open() {
    let (site, [one, two, three]) = site().await;
    for people in [&[&one][..], &[&two], &[&three], &[&one, &one]] {
        let (shown, unread) = read_session(&site, "s0", people, Vec::new()).await;
        assert!(!shown && unread.contains("1 of the 2 shares that its key needs were given: add another"), "{unread}");
    }
    let (shown, unread) = read_session(&site, "s0", &[&Identity::generate()], Vec::new()).await;
    assert!(!shown && unread.contains("none of the given identities"), "{unread}");
    for people in [&[&one, &two][..], &[&three, &one], &[&two, &three], &[&one, &two, &three]] {
        let (shown, unread) = read_session(&site, "s0", people, Vec::new()).await;
        assert!(shown && unread.is_empty(), "{unread}");
    }
    let report = site.verify(VerifyOptions { auditors: vec![one.clone(), two], ..VerifyOptions::default() }).await;
    assert!(report.verified && report.counts.opened == 2, "{}", report.text());
    let report = site.verify(VerifyOptions { auditors: vec![one], ..VerifyOptions::default() }).await;
    assert!(report.counts.opened == 0 && report.text().contains("opens none of the 2 fragments"), "{}", report.text());
}

/// Enough auditors at one place open nothing without a recorded opening, or with one for another session or account,
/// also if they add a share that they don't need, genuine or invented. Checks need none.
#[tokio::test]
async fn enough_auditors_need_a_request() {
    let (site, [one, two, three]) = site().await;
    let vault = site.vault();
    let both = [one.clone(), two.clone()].to_vec();
    let read = async |mut opener: FragmentOpener<'_>| {
        let replayed = replay(&mut opener, "s0", &ReplayFilter::default()).await.expect("read");
        replayed.unreadable.join("\n")
    };
    let other_account = KeySelection { account: Some("acme".to_owned()), ..of_session("s0") };
    for openings in [vec![], vec![of_session("s1"), other_account]] {
        let unread = read(FragmentOpener::for_openings(&vault, both.clone(), openings)).await;
        assert!(unread.contains("opened only for a signed request: add --request"), "{unread}");
    }
    let default = KeySelection { account: Some("default".to_owned()), ..of_session("s0") };
    assert_eq!(read(FragmentOpener::for_openings(&vault, both.clone(), vec![default])).await, "");
    let share = shares_of(&site, "s0", &three).await.shares;
    let text = String::from_utf8(share[0].to_line().expect("a line").to_vec()).expect("text");
    let y = text.rsplit("\"y\":\"").next().expect("a value").trim_end_matches("\"}\n");
    let invented = parse_shares(text.replace(y, &"A".repeat(y.len())).as_bytes(), &[]).expect("shares");
    for surplus in [share, invented] {
        let unread = read(FragmentOpener { shares: surplus, ..FragmentOpener::new(&vault, both.clone()) }).await;
        assert!(unread.contains("opened only for a signed request"), "{unread}");
    }
    assert_eq!(read(FragmentOpener { permitted: None, ..FragmentOpener::new(&vault, both) }).await, "");
}

/// One auditor's shares of a session and another auditor open that session and no other, as plain text and sealed; the
/// shares say whose they are; alone they open nothing.
#[tokio::test]
async fn a_share_opens_one_session() {
    let (site, [one, two, three]) = site().await;
    let given = shares_of(&site, "s0", &two).await;
    assert!(given.shares.len() == 1 && given.refused.is_empty() && given.without_shares == 0);
    assert_eq!(given.shares[0].place, "default/acme/s0/2026-11-20");
    let line = given.shares[0].to_line().expect("a line");
    let sealed = age::encrypt(&one.to_public(), &line).expect("sealed");
    for file in [&line[..], &sealed] {
        let shares = parse_shares(file, std::slice::from_ref(&one)).expect("shares");
        let (shown, unread) = read_session(&site, "s0", &[&one], shares.clone()).await;
        assert!(shown && unread.is_empty(), "{unread}");
        let (shown, unread) = read_session(&site, "s1", &[&one], shares.clone()).await;
        assert!(!shown && unread.contains("1 of the 2 shares"), "{unread}");
        let (shown, unread) = read_session(&site, "s0", &[&Identity::generate()], shares.clone()).await;
        assert!(!shown && unread.contains("1 of the 2 shares"), "{unread}");
        let (shown, _) = read_session(&site, "s0", &[&two], shares).await;
        assert!(!shown, "the same share twice");
    }
    assert!(
        parse_shares(&sealed, &[three]).is_err_and(|error| error.contains("none of the given identities opens it"))
    );
    for broken in [&sealed[..sealed.len() - 1], b"", b"\n", b"junk", b"age-encryption.org/v1\n", &[0xff; 9]] {
        assert!(parse_shares(broken, std::slice::from_ref(&one)).is_err());
    }
    // `vault combine`
    let mut shares = shares_of(&site, "s0", &one).await.shares;
    shares.extend(shares_of(&site, "s1", &one).await.shares);
    shares.extend(given.shares);
    let combined = combine_all(shares);
    let places: Vec<(&str, bool)> = combined.iter().map(|(place, key)| (&**place, key.is_ok())).collect();
    assert_eq!(places, [("default/acme/s0/2026-11-20", true), ("default/acme/s1/2026-11-20", false)]);
}

/// A wrong share opens nothing, is reported, and does not stand in the way of two people who are present.
#[tokio::test]
async fn a_wrong_share_is_reported() {
    let (site, [one, two, three]) = site().await;
    let share = shares_of(&site, "s0", &two).await.shares.remove(0);
    let line = String::from_utf8(share.to_line().expect("a line").to_vec()).expect("text");
    let (head, value) = line.split_once("\"y\":\"").expect("a value");
    let wrong = format!("{head}\"y\":\"{}{}", if value.starts_with('A') { 'B' } else { 'A' }, &value[1..]);
    let wrong = parse_shares(wrong.as_bytes(), &[]).expect("a share");
    let (shown, unread) = read_session(&site, "s0", &[&one], wrong.clone()).await;
    assert!(!shown && unread.contains("a share is wrong"), "{unread}");
    let (shown, unread) = read_session(&site, "s0", &[&one, &three], wrong).await;
    assert!(shown && unread.is_empty(), "{unread}");
    let other = shares_of(&site, "s1", &two).await.shares;
    let (shown, unread) = read_session(&site, "s0", &[&one, &three], other).await;
    assert!(shown && unread.is_empty(), "{unread}");
}

/// A key object that was put under another session's name is not shared, also with the key's own id as its name; nor
/// is one that somebody sealed to the auditor themselves.
#[tokio::test]
async fn moved_keys_are_not_shared() {
    let (site, [one, two, _]) = site().await;
    let name = site.name(&["keys/default/acme/s0/", ".age"]);
    let object = site.object(&name);
    let planted = name.replace("/s0/", "/s1/");
    site.plant(&planted, object.clone());
    let given = shares_of(&site, "s1", &one).await;
    assert_eq!(given.shares.iter().map(|share| &*share.place).collect::<Vec<_>>(), ["default/acme/s1/2026-11-20"]);
    assert!(given.refused.len() == 1 && given.refused[0].contains("another session or day"), "{:?}", given.refused);
    let next_day = name.replace("2026-11-20", "2026-11-21");
    let junk: [(String, Bytes); 4] = [
        (next_day, object.clone()),
        (planted.replace(".age", "-00.age"), object.slice(..object.len() / 2)),
        (name.replace(".age", "-01.age"), vec![b'{'; 64 << 10].into()),
        (name.replace(".age", "-02.age"), vec![b'{'; (64 << 10) + 1].into()),
    ];
    site.store.0.lock().extend(junk);
    for (session, refused) in [("s0", 3), ("s1", 2)] {
        let given = shares_of(&site, session, &one).await;
        assert_eq!((given.shares.len(), given.refused.len()), (1, refused), "{:?}", given.refused);
    }
    let (shown, _) = read_session(&site, "s0", &[&one, &two], Vec::new()).await;
    assert!(shown, "junk hides nothing");
}

/// Copies lead from one of n to two of three and back; the next run finds them, and each opens for whom it is made.
#[tokio::test]
async fn copies_change_the_threshold() {
    let mut site = Site::of_session(32, "said in s0", 3).await;
    assert!(site.uploader.drain().await);
    let people = [(); 3].map(|()| Identity::generate());
    let of: Vec<_> = people.iter().map(Identity::to_public).collect();
    let copied = async |auditors: &[Identity], to: &RecipientPolicy| -> RewrapSummary {
        let copier = Copier { auditors: auditors.to_vec(), ..Copier::of(&site) };
        copier.copy(to, &KeySelection::default()).await.expect("copied")
    };
    let together = RecipientPolicy::unlimited(of.clone()).with_threshold(Some(2));
    let auditor = std::slice::from_ref(&site.auditor);
    let done = copied(auditor, &together).await;
    assert!((done.keys, done.written, done.newly_listed) == (1, 1, 1) && done.failed.is_empty(), "{done:?}");
    let again = copied(auditor, &together).await;
    assert_eq!((again.written, again.already_present), (0, 1), "{again:?}");
    // the same people with another threshold, or each alone, are another copy
    let all = copied(auditor, &RecipientPolicy::unlimited(of.clone()).with_threshold(Some(3))).await;
    assert_eq!((all.written, all.already_present), (1, 0), "{all:?}");
    let [one, two, _] = &people;
    let (shown, _) = read_session(&site, "s0", &[one], Vec::new()).await;
    assert!(!shown);
    let (shown, unread) = read_session(&site, "s0", &[one, two], Vec::new()).await;
    assert!(shown, "{unread}");
    let late = Identity::generate();
    let back = RecipientPolicy::unlimited([late.to_public()]);
    let failed = copied(std::slice::from_ref(one), &back).await.failed;
    let is_lack = |why: &String| ["of the 2 shares", "of the 3 shares"].iter().any(|part| why.contains(part));
    assert!(failed.first().is_some_and(is_lack), "{failed:?}");
    let both = [one.clone(), two.clone()];
    let refused = copied(&both, &back).await;
    assert!(refused.written == 0 && refused.failed[0].contains("give --threshold"), "{refused:?}");
    let more = RecipientPolicy::unlimited(vec![one.to_public(), late.to_public()]).with_threshold(Some(2));
    assert_eq!(copied(&both, &more).await.written, 1, "for several, several may copy");
    assert_eq!(copied(auditor, &back).await.written, 1, "the recipient of the first copy opens it alone");
    let (shown, unread) = read_session(&site, "s0", &[&late], Vec::new()).await;
    assert!(shown, "{unread}");
    let keys = Copier::of(&site).keys();
    let report = site.verify(VerifyOptions { keys, auditors: vec![late], ..VerifyOptions::default() }).await;
    assert!(report.verified && report.counts.opened == 1, "{}", report.text());
}
