use clap::Parser;

use super::*;
use crate::cli::erase::tests::NoConfig;
use crate::cli::erase::{EraseArgs, run_erase};
use crate::testing::site::Site;

#[derive(Parser)]
struct HoldLine {
    #[command(subcommand)]
    hold: HoldCommand,
}

#[derive(Parser)]
struct EraseLine {
    #[command(flatten)]
    erase: EraseArgs,
}

/// `hold` and `erase --request` accept a line of `find --sessions` as printed, as `replay` and `export` do. It names
/// the account, without which a session that several accounts have is refused.
#[test]
fn a_line_of_find_names_what_is_held_and_erased() {
    let folder = tempfile::tempdir().expect("scratch");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let mut site = Site::new(7);
        site.send("default", "s0", "text");
        site.send("team", "s0", "another account's");
        site.user = Some("h-02default".to_owned());
        site.send("default", "s1", "after a rotation");
        site.minutes(3).await;
        assert!(site.uploader.drain().await);
        std::fs::write(folder.path().join("key"), site.signer.public().to_string()).expect("written");
        site.write_to(folder.path());
    });
    let store = folder.path().display().to_string();
    let request = |session: &str, file: &str| {
        let output = folder.path().join(file).display().to_string();
        let line =
            ["erase", session, "--request", "--requested-by", "dpo", "--reason", "ticket 1", "--output", &output];
        let line = line.into_iter().chain(["--store", &store]);
        let done = run_erase(&NoConfig, &EraseLine::parse_from(line).erase).map_err(|error| error.to_string());
        done.map(|_| std::fs::read_to_string(&output).expect("a request"))
    };
    assert!(request("s0", "r0").expect_err("two accounts").contains("2 accounts"));
    for (session, file) in [("s0\tteam", "r1"), ("s0\tteam\tUNSIGNED", "r2")] {
        let text = request(session, file).expect("a request");
        assert!(text.contains("\"account\": \"team\"") && text.contains("\"session\": \"s0\""), "{text}");
    }
    let held = |word: &str, session: &str| {
        let line = ["hold", word, session, "--requested-by", "legal", "--reason", "case 1", "--store", &store];
        run_hold(&HoldLine::parse_from(line).hold).map_err(|error| error.to_string())
    };
    assert!(held("set", "s0").expect_err("two accounts").contains("2 accounts"));
    for word in ["set", "release"] {
        assert_eq!(held(word, "s0\tteam"), Ok(ExitStatus::Success), "{word}");
    }
    // the pseudonyms of two epochs
    let (key, output) =
        (folder.path().join("key").display().to_string(), folder.path().join("r3").display().to_string());
    let users = ["--user", "h-default", "--user", "h-02default", "--requested-by", "x", "--reason", "case 2"];
    let line = ["erase", "--request", "--gateway-key", &key, "--store", &store, "--output", &output];
    let line = EraseLine::parse_from(line.into_iter().chain(users));
    run_erase(&NoConfig, &line.erase).map_err(|error| error.to_string()).expect("a request");
    let text = std::fs::read_to_string(&output).expect("a request");
    assert!(["\"acme/s0\"", "\"acme/s1\""].iter().all(|session| text.contains(session)), "{text}");
    let line = HoldLine::parse_from(["hold", "set", "--key", &key, "--store", &store].into_iter().chain(users));
    assert_eq!(run_hold(&line.hold).map_err(|error| error.to_string()), Ok(ExitStatus::Success));
    for session in ["s0", "s1"] {
        assert!(folder.path().join("holds/default/acme").join(session).is_dir(), "{session}");
    }
}
