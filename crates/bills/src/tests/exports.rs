use std::path::PathBuf;

use crate::bill::{Bill, RowFilter};
use crate::causes::reconcile;
use crate::format::load_formats;
use crate::own::OwnSums;
use crate::report::BillReport;

use super::{assert_golden, prices, repository};

/// The files of a folder, in order.
fn files_in(folder: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    let is_export = |path: &PathBuf| path.extension().is_some_and(|end| end == "csv" || end == "json");
    let mut files: Vec<PathBuf> = files.filter(is_export).collect();
    files.sort();
    files
}

fn folder_is_bad(path: &std::path::Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("bad"))
}

/// The report of an export beside no calls of ours, or why it is refused.
fn report(path: &PathBuf, filter: &RowFilter) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let providers = ["anthropic", "openai", "aws", "azure", "google"];
    let provider = providers.into_iter().find(|provider| name.starts_with(provider)).unwrap_or("aws");
    let provider = if folder_is_bad(path) { "anthropic" } else { provider };
    let (formats, prices) = (load_formats(None).unwrap(), prices(&[]));
    let read = Bill::read(std::slice::from_ref(path), &formats, provider, None, filter);
    let text = match read {
        Err(problem) => format!("error: {}\n", problem.replace(&path.display().to_string(), "FILE")),
        Ok(mut bill) => {
            bill.name_models(&prices);
            let own = OwnSums::default();
            let result = reconcile(&bill, &own, &prices);
            BillReport { bill: &bill, own: &own, result: &result, tolerance: 0 }.text()
        }
    };
    format!("== {name}\n{text}\n")
}

/// Each published format is read as its README says, and each bad file is refused without a word of its content.
#[test]
fn published_forms_are_read() {
    for (folder, golden) in [("tests/bills", "reports.txt"), ("tests/bills/bad", "reports.txt")] {
        let text: String = files_in(folder).iter().map(|path| report(path, &RowFilter::default())).collect();
        assert_golden(&repository(folder).join(golden), &text);
    }
}

/// With a currency chosen, the others are left out and counted, never added.
#[test]
fn currencies_never_mix() {
    let path = repository("tests/bills/bad/two_currencies.json");
    assert!(report(&path, &RowFilter::default()).contains("amounts in EUR and USD, which no sum may mix"));
    let filter = RowFilter { currency: Some("USD".to_owned()), ..RowFilter::default() };
    let text = report(&path, &filter);
    assert!(text.contains("1 row in EUR") && text.contains("total"), "{text}");
}

/// Pages that have rows in common count them once; a row that changed between two exports is an error.
#[test]
fn rows_of_two_files_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str, amounts: [&str; 2]| {
        let row = |day: usize, amount: &str| {
            let result = format!(
                r#"{{"currency":"USD","amount":"{amount}","token_type":"output_tokens","model":"claude-sonnet-4-6","service_tier":"standard"}}"#
            );
            format!(
                r#"{{"starting_at":"2026-11-0{day}T00:00:00Z","ending_at":"2026-11-0{}T00:00:00Z","results":[{result}]}}"#,
                day + 1
            )
        };
        let path = folder.path().join(name);
        let rows = [row(1, amounts[0]), row(2, amounts[1])].join(",");
        std::fs::write(&path, format!(r#"{{"data":[{rows}],"has_more":false}}"#)).unwrap();
        path
    };
    let formats = load_formats(None).unwrap();
    let read = |files: &[PathBuf]| Bill::read(files, &formats, "anthropic", None, &RowFilter::default());
    let (one, same, changed) = (page("a", ["100", "200"]), page("b", ["100", "200"]), page("c", ["100", "250"]));
    let total = |bill: &Bill| bill.cells.values().map(|cell| cell.atto).sum::<i128>();
    assert_eq!(total(&read(&[one.clone(), same]).unwrap()), 3_000_000_000_000_000_000);
    let problem = read(&[one, changed]).err().unwrap();
    assert!(problem.contains("has rows of an earlier file, but others on 2026-11-02"), "{problem}");
}

/// A file of any size is read in bounded memory, compressed or not, and one endless row is refused.
#[test]
fn huge_and_compressed_exports() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let (path, formats) = (folder.path().join("costs.csv.gz"), load_formats(None).unwrap());
    let mut file = flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
    writeln!(file, "\u{feff}start_time,end_time,amount_value,amount_currency,line_item").unwrap();
    for _ in 0..100_000 {
        writeln!(file, "1793491200,1793577600,0.01,usd,\"gpt-4o-2024-08-06, input\"").unwrap();
    }
    file.finish().unwrap();
    let bill = Bill::read(std::slice::from_ref(&path), &formats, "openai", None, &RowFilter::default()).unwrap();
    assert_eq!(bill.cells.values().map(|cell| cell.atto).sum::<i128>(), 1_000_000_000_000_000_000_000);
    assert_eq!(bill.cells.values().map(|cell| cell.rows).sum::<u64>(), 100_000);
    let mut file = flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
    file.write_all(b"start_time,amount_value,amount_currency,line_item\n").unwrap();
    (0..20).for_each(|_| file.write_all(&vec![b'x'; 1 << 20]).unwrap());
    file.finish().unwrap();
    let problem = Bill::read(&[path], &formats, "openai", None, &RowFilter::default()).err().unwrap();
    assert!(problem.contains("a row of CSV or a document of JSON has more than 16 MiB"), "{problem}");
}

/// The manual's file of formats can be read.
#[test]
fn the_manuals_form_loads() {
    let page = std::fs::read_to_string(repository("docs/how-to/close-the-month.md")).unwrap();
    let block = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("formats.yaml");
    std::fs::write(&path, block).unwrap();
    assert_eq!(load_formats(Some(&path)).unwrap().len(), load_formats(None).unwrap().len() + 1);
}

/// A report in several files is cut anywhere: rows of two hours of one day both count, with equal amounts or not.
#[test]
fn files_may_be_cut_within_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, hour: usize, cost: &str| {
        let path = folder.path().join(name);
        let row = format!("2026-11-03T{hour:02}:00:00Z,{cost},USD,\"gpt-4o-2024-08-06, input\"");
        std::fs::write(&path, format!("start_time,amount_value,amount_currency,line_item\n{row}\n")).unwrap();
        path
    };
    let formats = load_formats(None).unwrap();
    let files = [part("1.csv", 10, "0.8"), part("2.csv", 11, "0.8"), part("3.csv", 12, "0.1")];
    let bill = Bill::read(&files, &formats, "openai", None, &RowFilter::default()).unwrap();
    assert_eq!(bill.cells.values().map(|cell| cell.atto).sum::<i128>(), 1_700_000_000_000_000_000);
}

/// Two formats with amounts of the same costs would count twice; text of a file never reaches an error.
#[test]
fn what_would_count_twice_or_leak_is_refused() {
    let (formats, folder) = (load_formats(None).unwrap(), tempfile::tempdir().unwrap());
    let read = |files: &[PathBuf]| Bill::read(files, &formats, "anthropic", None, &RowFilter::default()).err().unwrap();
    let both =
        [repository("tests/bills/anthropic-cost-report.json"), repository("tests/bills/anthropic-console-cost.csv")];
    assert!(read(&both).contains("both have amounts, which would count twice"));
    let path = folder.path().join("costs.csv");
    let row = "2026-11-03,1,\u{1b}[31mX,\"gpt-4o, input\"";
    std::fs::write(&path, format!("start_time,amount_value,amount_currency,line_item\n{row}\n")).unwrap();
    assert!(read(&[path]).ends_with("row 1: the row names no currency in three letters"));
}
