//! The checks of `tollgate check` on the machine and S3: write access to folders, sync speed of the spool's volume, the
//! clock, write access of the vault's writer. Temporary files are removed; in S3 only probe objects are written, and
//! nothing is read. The time is taken only from hosts that the configuration sends to.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use http::{Request, Uri, header};
use time::OffsetDateTime;

use crate::app::configured_component::vaults;
use crate::app::valid_settings::ValidSettings;
use crate::app::volume;
use command::tasks::command_services;
use config::{ByteSize, env};
use exporters::outcome;
use exporters::spec::ExportTarget;
use kernel::calendar::utc;
use kernel::clock::{Clock, SystemClock};
use net::client::{self, HttpClient, upload_body};
use net::{ProxyRules, tls};
use vault::store::probe::{ProbeCheck, ProbeScope, ProbeVerdict};

/// Number of timed syncs.
const SYNC_COUNT: usize = 16;
/// A slower sync would delay every client.
const MAX_SYNC_TIME: Duration = Duration::from_millis(200);
/// The largest accepted clock difference. S3 refuses requests at 15 minutes, but prices, retention and retry times go
/// wrong long before.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(30);
/// Time limit for an answer with a date.
const DATE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the folders of the spool and of directory vaults are writable and have enough space.
pub(super) fn check_volumes(valid: &ValidSettings) -> Vec<ProbeCheck> {
    let spool = &valid.spool;
    let mut results = vec![ProbeCheck::new(
        format!("the spool's folder {} is writable", spool.directory.display()),
        check_writable(&spool.directory),
    )];
    if let Some(warning) = volume::warn_if_in_memory(&spool.directory) {
        let remedy = "put `spool.directory` on a volume that survives a restart".to_owned();
        results.push(ProbeCheck::new("the spool is on a disk", Err((warning, remedy))));
    }
    if let Some(free) = volume::free_bytes(&spool.directory) {
        let needed = spool.max_size.saturating_sub(volume::used_bytes(&spool.directory));
        let remedy = "lower `spool.max_size`, or enlarge the volume: when the disk is full, clients are refused";
        let shortage = (free < needed).then(|| (volume::describe_shortage(free, needed), remedy.to_owned()));
        let property = format!("the volume has room for a full spool ({})", ByteSize(spool.max_size));
        results.push(ProbeCheck::new(property, shortage.map_or(Ok(()), Err)));
    }
    let folders = vaults(&valid.processors).filter_map(|(.., store)| store.profile().folder);
    let check = |path: &Path| {
        ProbeCheck::new(format!("the vault's folder {} is writable", path.display()), check_writable(path))
    };
    results.extend(folders.map(check));
    results
}

/// Creates and removes a file in `directory` or its nearest existing ancestor.
fn check_writable(directory: &Path) -> Result<(), (String, String)> {
    let existing = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let file = existing.join(format!(".tollgate-check-{}", std::process::id()));
    let created = std::fs::File::create_new(&file).and_then(|file| file.sync_all());
    let removed = std::fs::remove_file(&file);
    created.and(removed).map_err(|error| {
        let remedy = format!("give the user that runs tollgate write access to {}", existing.display());
        (format!("{}: {error}", existing.display()), remedy)
    })
}

/// Measures syncs in `directory` or its nearest existing ancestor; `None` if no file can be created there.
pub(super) fn check_sync_speed(valid: &ValidSettings) -> Option<ProbeCheck> {
    let existing = valid.spool.directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let path = existing.join(format!(".tollgate-check-sync-{}", std::process::id()));
    let mut file = File::create_new(&path).ok()?;
    let median = median_sync_time(&mut file);
    drop(std::fs::remove_file(&path));
    let description =
        |took: Duration| format!("the spool's volume syncs 4 KiB in {} ms (median of {SYNC_COUNT})", took.as_millis());
    Some(match median {
        Ok(took) => {
            let why = format!("more than {} ms: each OK to a client waits for a sync", MAX_SYNC_TIME.as_millis());
            let remedy = "put `spool.directory` on a faster volume (SSD, not network)".to_owned();
            ProbeCheck::new(description(took), if took > MAX_SYNC_TIME { Err((why, remedy)) } else { Ok(()) })
        }
        Err(error) => {
            let remedy = "check the volume: tollgate can't accept data if syncs fail".to_owned();
            ProbeCheck::new("the spool's volume syncs", Err((error.to_string(), remedy)))
        }
    })
}

/// The median time of a sync; single syncs may wait for writes of other processes.
fn median_sync_time(file: &mut File) -> std::io::Result<Duration> {
    let clock = SystemClock::new();
    let mut times = Vec::with_capacity(SYNC_COUNT);
    for _ in 0..SYNC_COUNT {
        let began = clock.monotonic();
        file.write_all(&[0; 4096])?;
        rustix::fs::fdatasync(&*file)?;
        times.push(clock.monotonic().saturating_sub(began));
    }
    times.sort_unstable();
    Ok(times.get(SYNC_COUNT / 2).copied().unwrap_or_default())
}

/// Whether each vault on a server can be written to: in S3, by one small locked object per bucket.
pub(super) async fn check_stores(valid: &ValidSettings) -> Vec<ProbeCheck> {
    let mut results = Vec::new();
    for (id, _, store) in vaults(&valid.processors) {
        let name = store.profile().server.map_or(store.profile().key, |server| server.name);
        match store.probe(ProbeScope::Writes).await {
            Ok(checks) => results.extend(checks.into_iter().map(|check| ProbeCheck {
                property: format!("`{id}` in {name}, {}", check.property),
                answer: if check.verdict == ProbeVerdict::Holds { String::new() } else { check.answer },
                ..check
            })),
            Err(error) => {
                let remedy = format!("check `store.{}`: endpoint, ca_file, credentials", store.profile().key);
                results.push(ProbeCheck::new(format!("`{id}` reaches {name}"), Err((error.to_string(), remedy))));
            }
        }
    }
    results
}

/// Whether this machine's clock agrees with the clocks of servers that the configuration sends to.
pub(super) async fn check_clocks(valid: &ValidSettings) -> Vec<ProbeCheck> {
    let mut results = Vec::new();
    for (server, uri, tls) in http_servers(valid) {
        let Some(theirs) = fetch_date(uri, tls).await else { continue };
        let ours = utc(SystemClock::new().now());
        let skew = (ours - theirs).unsigned_abs();
        let description = format!("the clock agrees with that of {server} within {} s", MAX_CLOCK_SKEW.as_secs());
        let direction = if ours > theirs { "ahead" } else { "behind" };
        let why = format!("this machine is {} s {direction}", skew.as_secs());
        let remedy =
            "synchronise the clock by NTP: otherwise S3 refuses requests, and prices and retention use wrong dates";
        let fault = (skew > MAX_CLOCK_SKEW).then(|| (why, remedy.to_owned()));
        results.push(ProbeCheck::new(description, fault.map_or(Ok(()), Err)));
    }
    results
}

/// The servers that answer HTTP/1.1, with their addresses and TLS settings.
fn http_servers(valid: &ValidSettings) -> Vec<(String, Uri, tls::ClientTlsSettings)> {
    let exporters = valid.exporters.iter().filter_map(|placed| match placed.value.spec().profile().target {
        ExportTarget::Server { tls, http: Some(uri) } => Some((format!("`{}`", placed.id), uri.clone(), tls.clone())),
        ExportTarget::Server { http: None, .. }
        | ExportTarget::Brokers { .. }
        | ExportTarget::File { .. }
        | ExportTarget::Output => None,
    });
    let stores = vaults(&valid.processors).filter_map(|(id, _, store)| {
        let server = store.profile().server?;
        let ca_file = server.ca_file.map(Path::to_owned);
        let tls = tls::ClientTlsSettings { ca_file, ..tls::ClientTlsSettings::default() };
        Some((format!("{} of `{id}`", server.name), server.url.parse().ok()?, tls))
    });
    exporters.chain(stores).collect()
}

/// The date of an answer with any status; `None` if there is no answer or no date.
async fn fetch_date(uri: Uri, tls: tls::ClientTlsSettings) -> Option<OffsetDateTime> {
    let secure = uri.scheme_str() == Some("https");
    let settings = client::ClientSettings { tls: secure.then_some(tls), http2_only: false };
    let services = command_services(ProxyRules::from_env(&env::var).ok()?);
    let client = HttpClient::build(&settings, &services).ok()?;
    let request = Request::head(uri).body(upload_body([])).ok()?;
    let answer = tokio::time::timeout(DATE_TIMEOUT, client.send(request)).await.ok()?.ok()?;
    outcome::parse_http_date(answer.headers().get(header::DATE)?.to_str().ok()?)
}
