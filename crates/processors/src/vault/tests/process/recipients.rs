//! Content is sealed to the recipients that may open it, and to no others.

use super::*;
use vault::recipients::PolicyRecipient;

/// In one batch, each tenant's content is sealed to its own recipients; a quarantined request, which may hold content of
/// every tenant, is sealed to none who is limited to tenants; an account without a recipient is refused.
#[test]
fn content_goes_to_its_recipients() {
    let identities = [(); 3].map(|()| age::x25519::Identity::generate());
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    let limited = |index: usize, accounts, tenants| PolicyRecipient {
        key: identities[index].to_public(),
        accounts: names(accounts),
        tenants: names(tenants),
    };
    let policy = RecipientPolicy::new(vec![
        PolicyRecipient { key: identities[0].to_public(), accounts: names(&["default"]), tenants: None },
        limited(1, &["default"], &["red"]),
        limited(2, &["default"], &["unattributed"]),
    ]);
    let sealer: Arc<dyn SessionKeyGenerator> = Arc::new(policy);
    let bench = Bench::made(LeftContent::Nothing, Some(sealer), identities[0].clone());
    let case = json!({"items": [chat("s", "red", "x"), chat("s", "blue", "y"), chat("s", "", "z")]});
    let origin = Arc::new(origin());
    let mut batch = Batch::new(Arc::clone(&origin), request::payload(&case));
    bench.processor.process(&mut batch).expect("sealed");
    let opened = |records: Vec<SpoolRecord>| -> BTreeMap<String, [bool; 3]> {
        let keys = records.iter().filter(|record| record.kind == RecordKind::Key);
        keys.map(|record| {
            let (header, object): (KeyHeader, _) = spool_record::unpack(&record.body).expect("a key");
            let tenant = header.name.split('/').rev().nth(3).expect("a tenant").to_owned();
            (tenant, [0, 1, 2].map(|index: usize| age::decrypt(&identities[index], &object).is_ok()))
        })
        .collect()
    };
    let mut ticketer = bench.processor.ticketer().expect("a ticketer");
    let records = batch.drafts.into_iter().flat_map(|draft| ticketer(draft.body).records).collect();
    let expected =
        [("blue", [true, false, false]), ("red", [true, true, false]), ("unattributed", [true, false, true])];
    assert_eq!(opened(records), BTreeMap::from(expected.map(|(tenant, opens)| (tenant.to_owned(), opens))));
    let request = Bytes::from_static(b"a request that no step could finish");
    let draft = bench.processor.quarantine(&origin, Signal::Traces, &request, 1).expect("a draft");
    let quarantined = opened(ticketer(draft.body).records);
    assert_eq!(quarantined, BTreeMap::from([("unattributed".to_owned(), [true, false, false])]));
    let stranger = BatchOrigin { account: "stranger".into(), ..(*origin).clone() };
    let mut batch = Batch::new(Arc::new(stranger), request::payload(&json!({"items": [chat("s", "red", "x")]})));
    assert_eq!(bench.processor.process(&mut batch), Err(Reason::NoRecipient));
    assert!(batch.clearance.content == ContentState::Kept && batch.drafts.is_empty());
}
