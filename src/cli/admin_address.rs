//! [`AdminPortArgs`]: the options that locate the admin port, and [`run_with_client`], which runs a command against it.
//! With `--config`, the command means the gateway of that file. `--admin` and its environment variable take precedence,
//! and then the file is not read. Credentials of a file, and the token in its data directory, are sent to the port in
//! that file only, and are never printed. `admin_client` makes the requests.

use std::path::{Path, PathBuf};

use super::common::CommonArgs;
use super::config_loading::{FileAccess, LoadedConfig, load_config};
use crate::app::configured_component::admin_ports;
use crate::app::gateway_keys::{ADMIN_TOKEN_FILE, admin_token_path};
use crate::components::ExtensionConfig;
use command::admin_client::{AdminClient, AdminPort, AdminPortArgs, basic_auth};
use command::error::{CommandError, ExitStatus};
use command::keyfile;
use command::runtime::block_on;
use config::{Endpoint, env};
use kernel::secret::Secret;
use net::{server_tls, tls};
use telemetry::admin::{self, roles::Role};

/// The admin port of the embedded default, and of a configuration that sets none.
const DEFAULT_ADMIN_URL: &str = "http://127.0.0.1:8888";

/// Runs `work` with a client for the selected gateway.
pub(super) fn run_with_client<W, F>(
    common: &CommonArgs,
    admin_port: &AdminPortArgs,
    work: W,
) -> Result<ExitStatus, CommandError>
where
    W: FnOnce(AdminClient) -> F,
    F: Future<Output = Result<(), CommandError>>,
{
    let port = resolve_admin_port(admin_port, common)?;
    block_on(async { work(AdminClient::for_gateway(port)?).await })?;
    Ok(ExitStatus::Success)
}

/// The selected admin port.
///
/// # Errors
/// The configuration can't be read, or has no reachable admin port.
pub(super) fn resolve_admin_port(options: &AdminPortArgs, common: &CommonArgs) -> Result<AdminPort, CommandError> {
    let is_configured = options.admin.is_none() && common.config.is_some();
    let loaded = is_configured.then(|| load_config(common, FileAccess::Read)).transpose()?;
    resolve_loaded_admin_port(options, common, loaded.as_ref())
}

/// Like [`resolve_admin_port`], with the configuration that `--config` names already loaded.
///
/// # Errors
/// The configuration has no reachable admin port.
pub(super) fn resolve_loaded_admin_port(
    options: &AdminPortArgs,
    common: &CommonArgs,
    loaded: Option<&LoadedConfig>,
) -> Result<AdminPort, CommandError> {
    let configured_port = match (&options.admin, &common.config, loaded) {
        (None, Some(source), Some(loaded)) => {
            Some(configured_admin_port(loaded).map_err(|why| format!("{source}: {why}: use --admin URL"))?)
        }
        _ => None,
    };
    let requested_credential = requested_credential(options)?;
    let base = match (&options.admin, common.listen) {
        (Some(admin), _) => admin.clone(),
        (None, None) => DEFAULT_ADMIN_URL.to_owned(),
        (None, Some(listen)) => {
            let page = listen.page_address().ok_or("with port 0 the system chooses the admin port: use --admin URL")?;
            format!("http://{page}")
        }
    };
    let embedded_token = || {
        let data_dir = common.find_data_dir().ok().filter(|_| options.admin.is_none())?;
        read_local_token(&data_dir.join(ADMIN_TOKEN_FILE))
    };
    let mut port = configured_port.unwrap_or_else(|| AdminPort {
        base,
        tls: tls::ClientTlsSettings::default(),
        authorization: embedded_token(),
    });
    port.authorization = requested_credential.or(port.authorization);
    port.tls.identity = options.admin_cert.clone().zip(options.admin_key.clone());
    if let Some(ca) = &options.admin_ca {
        (port.tls.ca_file, port.tls.system_roots_too) = (Some(ca.clone()), false);
    }
    Ok(port)
}

fn requested_credential(options: &AdminPortArgs) -> Result<Option<Secret>, CommandError> {
    if let Some(path) = &options.admin_token_file {
        let token = keyfile::read_argument(path).map_err(|why| CommandError::Failed(why.to_string()))?;
        let missing = || CommandError::Failed(format!("--admin-token-file: {} does not exist", path.display()));
        return Ok(Some(bearer(&token.ok_or_else(missing)?)));
    }
    let token = env::var("TOLLGATE_ADMIN_TOKEN").map(|token| bearer(&Secret::new(token)));
    let login = env::var("TOLLGATE_ADMIN_USER").zip(env::var("TOLLGATE_ADMIN_PASSWORD"));
    Ok(token.or_else(|| login.map(|(user, password)| basic_auth(&user, &password))))
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// The token that a gateway made in its data directory. A command that only reads works without it, so a file that
/// can't be read is no error; the gateway's refusal names the file.
fn read_local_token(path: &Path) -> Option<Secret> {
    keyfile::read(path).ok().flatten().as_ref().map(bearer)
}

fn configured_admin_port(loaded: &LoadedConfig) -> Result<AdminPort, CommandError> {
    let no_port = "the configuration has no admin port (`admin` in `service.extensions`)";
    let (id, settings) = admin_ports(&loaded.valid.extensions).next().ok_or(no_port)?;
    let host = connect_host(&settings.endpoint)?;
    let (scheme, tls) = match &settings.tls {
        None => ("http", tls::ClientTlsSettings::default()),
        Some(port) => ("https", trust_port_certificate(&port.cert_file, &host)),
    };
    let auth_config = loaded.typed.extensions.iter().find_map(|placed| match &placed.value {
        ExtensionConfig::Admin(config) if placed.id == *id => Some(&config.auth),
        _ => None,
    });
    let base = format!("{scheme}://{host}:{}", settings.endpoint.port());
    let authorization = if settings.is_open() {
        read_local_token(&admin_token_path(&loaded.valid))
    } else {
        auth_config.and_then(port_credential)
    };
    Ok(AdminPort { base, tls, authorization })
}

/// The host to connect to from this machine, in URL form.
fn connect_host(endpoint: &Endpoint) -> Result<String, CommandError> {
    if endpoint.socket().is_some() {
        return Err("the admin port is a unix socket, which this command can't reach".into());
    }
    if endpoint.port() == 0 {
        return Err("the configuration lets the system choose the admin port".into());
    }
    Ok(endpoint.local_host())
}

/// Trusts the certificates in the port's own file. The certificate may be for another name than `host`, as is usual
/// when connecting from this machine.
fn trust_port_certificate(certificate: &PathBuf, host: &str) -> tls::ClientTlsSettings {
    let names = server_tls::certificate_host_names(certificate);
    let name = names.iter().find(|name| *name == host).or(names.first());
    tls::ClientTlsSettings {
        ca_file: Some(certificate.clone()),
        system_roots_too: true,
        server_name: name.and_then(|name| name.clone().try_into().ok()),
        ..tls::ClientTlsSettings::default()
    }
}

/// The credential for the port: the token or the user with every role, or else the first token of a role.
fn port_credential(auth: &admin::auth::AdminAuthConfig) -> Option<Secret> {
    let login = || Some(basic_auth(auth.username.as_ref()?, auth.password.as_ref()?.expose()));
    let of_role = |role: Role| auth.tokens.get(role.as_str())?.first().map(bearer);
    let first_token = || [Role::Operator, Role::Tapper, Role::Viewer, Role::Scraper].into_iter().find_map(of_role);
    auth.bearer.as_ref().map(bearer).or_else(login).or_else(first_token)
}
