//! Lines are a budget. The table in ARCHITECTURE.md gives each crate, the root package, the tests, the peers' scripts
//! and the lock file a ceiling. A ceiling falls with its row; to raise one, a line below the table must say for what.
//!
//! `TOLLGATE_UPDATE=1 cargo test size` lowers ceilings; it never raises one.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::sources::{files, product, root};

/// The file endings of the peers' scripts.
const SCRIPTS: &[&str] = &[".py", ".sh", ".mjs", ".cjs", ".go", ".java"];

/// How far a ceiling may be above its row, in percent, so that a small change needs no edit of the table.
const SLACK_PERCENT: usize = 1;
/// The same for small rows, in lines.
const SLACK_LINES: usize = 10;

/// So many earlier versions of the table are compared with the present one.
const VERSIONS: &str = "-30";

/// The rows' names and numbers.
type Rows = BTreeMap<String, usize>;

fn lines(text: &str) -> usize {
    text.lines().count()
}

/// The present size of each row.
fn measure() -> Rows {
    let mut rows = Rows::new();
    for file in product() {
        let mut parts = file.path.split('/');
        let row = if parts.next() == Some("crates") { parts.next().unwrap() } else { "root package" };
        *rows.entry(row.to_owned()).or_default() += lines(&file.text);
    }
    rows.insert("product in all".to_owned(), rows.values().sum());

    let mut rust = Vec::new();
    for folder in ["src", "crates", "tests/it", "tests/support", "tests/fuzz"] {
        files(&root().join(folder), ".rs", &mut rust);
    }
    rust.retain(|file| !file.path.starts_with("crates/otlp/src/gen/") && !file.path.contains("/target/"));
    let all: usize = rust.iter().map(|file| lines(&file.text)).sum();
    rows.insert("Rust tests".to_owned(), all - rows["product in all"]);

    let mut scripts = Vec::new();
    for ending in SCRIPTS {
        files(&root().join("tests/peers"), ending, &mut scripts);
    }
    let kept = scripts.iter().filter(|file| !file.path.contains("/target/") && !file.path.contains("/node_modules/"));
    rows.insert("peers' scripts".to_owned(), kept.map(|file| lines(&file.text)).sum());

    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    rows.insert("locked packages".to_owned(), lock.lines().filter(|line| *line == "[[package]]").count());
    rows
}

/// The numbers in the last cells of the tables between the marks: rows of crates, and of the rest.
fn ceilings(page: &str) -> Rows {
    let mut rows = Rows::new();
    for part in ["crates", "budget"] {
        let table = page.split(&format!("<!-- {part} -->")).nth(1).unwrap_or_default();
        let table = table.split(&format!("<!-- /{part} -->")).next().unwrap_or_default();
        for cells in table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")) {
            let (name, number) = (cells.split(" | ").next(), cells.rsplit(" | ").next());
            let Some(number) = number.and_then(|number| number.replace(',', "").parse().ok()) else { continue };
            rows.insert(name.unwrap_or_default().replace('`', ""), number);
        }
    }
    rows
}

/// The lines that say why a ceiling was raised: row and the ceiling that was raised to.
fn raised(page: &str) -> Rows {
    let table = page.split("<!-- raised -->").nth(1).unwrap_or_default();
    let table = table.split("<!-- /raised -->").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| {
        let [name, to, reason] = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let to = to.replace(',', "").parse().ok()?;
        assert!(reason.split_whitespace().count() >= 4, "say for what `{name}` was raised, and what it replaces");
        Some((name.replace('`', ""), to))
    });
    rows.collect()
}

/// A ceiling that is this much above the measured number must fall.
fn slack(measured: usize) -> usize {
    SLACK_LINES.max(measured * SLACK_PERCENT / 100)
}

/// The earlier versions of ARCHITECTURE.md; none where the sources are no checkout.
fn earlier_versions() -> Vec<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let commits = git(&["log", "--format=%H", VERSIONS, "--", "ARCHITECTURE.md"]);
    assert!(commits.is_some() || std::env::var_os("CI").is_none(), "CI needs a checkout with its history");
    let commits = commits.unwrap_or_default();
    commits.lines().filter_map(|commit| git(&["show", &format!("{commit}:ARCHITECTURE.md")])).collect()
}

/// What is wrong with the ceilings of `page`, given the measured rows and the earlier versions of the page.
fn problems(page: &str, measured: &Rows, earlier: &[String]) -> Vec<String> {
    let (ceilings, raised) = (ceilings(page), raised(page));
    let mut found = Vec::new();
    for (name, lines) in measured {
        let Some(ceiling) = ceilings.get(name) else {
            found.push(format!("`{name}` has no row: {lines}"));
            continue;
        };
        if lines > ceiling {
            found.push(format!("`{name}` has {lines}, its ceiling is {ceiling}: remove as much as you add"));
        } else if ceiling - lines > slack(*lines) {
            found.push(format!("`{name}` has {lines}, its ceiling is {ceiling}: lower it (TOLLGATE_UPDATE=1)"));
        }
        let lowest = earlier.iter().filter_map(|page| self::ceilings(page).get(name).copied()).min();
        if lowest.is_some_and(|lowest| *ceiling > lowest) && raised.get(name) != Some(ceiling) {
            found.push(format!("the ceiling of `{name}` was {lowest:?}: a line must say why it is {ceiling} now"));
        }
    }
    let gone = ceilings.keys().filter(|name| !measured.contains_key(*name));
    found.extend(gone.map(|name| format!("`{name}` has a row and does not exist")));
    let stale = raised.iter().filter(|(name, to)| ceilings.get(*name) != Some(*to));
    found.extend(stale.map(|(name, to)| format!("`{name}` was raised to {to}, and its ceiling is another now")));
    found
}

/// A number with a mark before each three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// The page with each ceiling that must fall lowered to its row, also where a line says why it was raised.
fn lower(page: &str, measured: &Rows) -> String {
    let ceilings = ceilings(page);
    let mut lowered = String::new();
    for line in page.lines() {
        let name = line.strip_prefix("| ").and_then(|rest| rest.split(" | ").next()).unwrap_or_default();
        let name = name.replace('`', "");
        match (ceilings.get(&name), measured.get(&name)) {
            (Some(ceiling), Some(lines)) if *ceiling > lines + slack(*lines) => {
                lowered.push_str(
                    &line.replace(&format!("| {} |", grouped(*ceiling)), &format!("| {} |", grouped(*lines))),
                );
            }
            _ => lowered.push_str(line),
        }
        lowered.push('\n');
    }
    lowered
}

/// No row grows beyond its ceiling, and no ceiling rises without a reason.
#[test]
fn size_stays_in_its_budget() {
    let path = root().join("ARCHITECTURE.md");
    let measured = measure();
    if std::env::var_os("TOLLGATE_UPDATE").is_some() {
        fs::write(&path, lower(&fs::read_to_string(&path).unwrap(), &measured)).unwrap();
    }
    let found = problems(&fs::read_to_string(&path).unwrap(), &measured, &earlier_versions());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Each rule of the budget, on a page that breaks it.
#[test]
fn size_budget_finds_each_break() {
    let page = |lines: &str, raised: &str| {
        format!(
            "<!-- crates -->\n| `kernel` | time | nothing | {lines} |\n<!-- /crates -->\n<!-- raised -->\n{raised}\n\
             <!-- /raised -->\n"
        )
    };
    let measured = Rows::from([("kernel".to_owned(), 1_200)]);
    let before = [page("1,200", "")];
    let line = "| `kernel` | 1,210 | a clock that can stop, for budgets |";
    assert_eq!(problems(&page("1,200", ""), &measured, &before), [""; 0]);
    assert_eq!(problems(&page("1,210", line), &measured, &before), [""; 0]);
    assert_eq!(lower(&page("1,210", line), &measured), page("1,210", line), "within the slack");
    for (page, expected) in [
        (page("1,199", ""), "remove as much as you add"),
        (page("1,300", ""), "lower it"),
        (page("1,210", ""), "a line must say why it is 1210 now"),
        (page("1,200", line), "its ceiling is another now"),
        (page("", ""), "has no row"),
    ] {
        let found = problems(&page, &measured, &before);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
    let lowered = lower(&page("1,210", line), &Rows::from([("kernel".to_owned(), 900)]));
    assert_eq!(problems(&lowered, &Rows::from([("kernel".to_owned(), 900)]), &before), [""; 0], "{lowered}");
    assert!(lowered.contains("| `kernel` | 900 | a clock"), "{lowered}");
}
