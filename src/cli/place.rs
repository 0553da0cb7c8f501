//! [`Where`]: the options that locate the admin port, and [`with`], which runs a command against it. With `--config`,
//! the command means the gateway of that file. `--admin` and its environment variable take precedence, and then the
//! file is not read. Credentials of a file are sent to the port in that file only, and are never printed. `ask` makes
//! the requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::Args;

use super::ask::{AdminPort, Asker, basic};
use super::common::Common;
use super::error::{CommandError, Exit};
use super::runtime::block_on;
use super::source::{Loaded, Make, load};
use crate::components::{ExtensionConfig, ExtensionSettings};
use config::{Endpoint, env};
use kernel::secret::Secret;
use net::{server_tls, tls};
use telemetry::admin;

/// The admin port of the embedded default, and of a configuration that sets none.
const USUAL: &str = "http://127.0.0.1:8888";

/// Options that locate the gateway.
#[derive(Args)]
pub(super) struct Where {
    /// Address of the admin port [default: that of `--config` or `--listen`, or else http://127.0.0.1:8888]. If it
    /// requires credentials, set TOLLGATE_ADMIN_TOKEN, or TOLLGATE_ADMIN_USER and TOLLGATE_ADMIN_PASSWORD; otherwise
    /// those of the configuration are used.
    #[arg(long, env = "TOLLGATE_ADMIN", value_name = "URL")]
    admin: Option<String>,
    /// PEM certificates to trust, if the admin port has TLS.
    #[arg(long, env = "TOLLGATE_ADMIN_CA", value_name = "FILE")]
    admin_ca: Option<PathBuf>,
    /// PEM client certificate to present.
    #[arg(long, env = "TOLLGATE_ADMIN_CERT", value_name = "FILE", requires = "admin_key")]
    admin_cert: Option<PathBuf>,
    /// PEM private key of the client certificate.
    #[arg(long, env = "TOLLGATE_ADMIN_KEY", value_name = "FILE", requires = "admin_cert")]
    admin_key: Option<PathBuf>,
}

/// Runs `work` with a client for the selected gateway.
pub(super) fn with<W, F>(common: &Common, at: &Where, work: W) -> Result<Exit, CommandError>
where
    W: FnOnce(Asker) -> F,
    F: Future<Output = Result<(), CommandError>>,
{
    let place = at.place(common)?;
    block_on(async { work(Asker::gateway(place)?).await })?;
    Ok(Exit::Fine)
}

impl Where {
    /// The selected admin port.
    ///
    /// # Errors
    /// The configuration can't be read, or has no reachable admin port.
    pub(super) fn place(&self, common: &Common) -> Result<AdminPort, CommandError> {
        let of_file = match (&self.admin, &common.config) {
            (None, Some(path)) => {
                let loaded = load(common, Make::Nothing)?;
                Some(configured(&loaded).map_err(|why| format!("{}: {why}: give --admin", path.display()))?)
            }
            _ => None,
        };
        let token = env::var("TOLLGATE_ADMIN_TOKEN").map(|token| Secret::new(format!("Bearer {token}")));
        let login = env::var("TOLLGATE_ADMIN_USER").zip(env::var("TOLLGATE_ADMIN_PASSWORD"));
        let given = token.or_else(|| login.map(|(user, password)| basic(&user, &password)));
        let base = match (&self.admin, common.listen) {
            (Some(admin), _) => admin.clone(),
            (None, None) => USUAL.to_owned(),
            (None, Some(listen)) => {
                let page = listen.page().ok_or("with port 0 the system chooses the admin port: give --admin")?;
                format!("http://{page}")
            }
        };
        let mut place =
            of_file.unwrap_or_else(|| AdminPort { base, tls: tls::Settings::default(), authorization: None });
        place.authorization = given.or(place.authorization);
        place.tls.identity = self.admin_cert.clone().zip(self.admin_key.clone());
        if let Some(ca) = &self.admin_ca {
            (place.tls.ca_file, place.tls.system_roots_too) = (Some(ca.clone()), false);
        }
        Ok(place)
    }
}

/// The admin port of a configuration.
fn configured(loaded: &Loaded) -> Result<AdminPort, CommandError> {
    let mut settings = loaded.valid.extensions.iter().filter_map(|placed| match &placed.what {
        ExtensionSettings::Admin(settings) => Some((&placed.id, settings)),
        ExtensionSettings::HealthCheck(_) => None,
    });
    let (id, settings) = settings.next().ok_or("it has no admin port (`admin` in `service.extensions`)")?;
    let host = host(&settings.endpoint)?;
    let (scheme, tls) = match &settings.tls {
        None => ("http", tls::Settings::default()),
        Some(port) => ("https", trusting(&port.cert_file, &host)),
    };
    let written = loaded.typed.extensions.iter().find_map(|placed| match &placed.what {
        ExtensionConfig::Admin(config) if placed.id == *id => Some(&config.auth),
        _ => None,
    });
    let base = format!("{scheme}://{host}:{}", settings.endpoint.port());
    Ok(AdminPort { base, tls, authorization: written.and_then(credential) })
}

/// The host to connect to from this machine, in URL form.
fn host(endpoint: &Endpoint) -> Result<String, CommandError> {
    if endpoint.socket().is_some() {
        return Err("its admin port is a unix socket, which this command can't reach".into());
    }
    if endpoint.port() == 0 {
        return Err("it lets the system choose the admin port".into());
    }
    let ip = match endpoint.literal().map(|at| at.ip()) {
        None => return Ok(endpoint.host().to_owned()),
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        Some(ip) => ip,
    };
    Ok(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() })
}

/// Trusts the port's own certificate and its issuer in the same file, also if its name differs from `host`, as it may
/// when connecting from this machine.
fn trusting(certificate: &PathBuf, host: &str) -> tls::Settings {
    let names = server_tls::names(certificate);
    let name = names.iter().find(|name| *name == host).or(names.first());
    tls::Settings {
        ca_file: Some(certificate.clone()),
        system_roots_too: true,
        server_name: name.and_then(|name| name.clone().try_into().ok()),
        ..tls::Settings::default()
    }
}

/// The credential for the port: the token, or else user and password.
fn credential(auth: &admin::auth::Config) -> Option<Secret> {
    let bearer = auth.bearer.as_ref().map(|token| Secret::new(format!("Bearer {}", token.expose())));
    let login = || Some(basic(auth.username.as_ref()?, auth.password.as_ref()?.expose()));
    bearer.or_else(login)
}
