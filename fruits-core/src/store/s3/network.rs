//! The way to the service: through a company's proxy and with a company's certificates, where there are such.

use std::fmt::Write;
use std::net::IpAddr;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result, Step};

/// The variables that name proxies, upper case before lower.
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What sends requests, as the variables and the profile say.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the certificates that they name cannot be read, or a proxy is no URL.
pub(super) fn http_client(settings: &Settings) -> Result<SharedHttpClient> {
    let tls = match ca_bundle(settings) {
        Some(file) => trusting(&file)?,
        None => TlsContext::default(),
    };
    let provider = || Provider::Rustls(CryptoMode::Ring);
    let direct = Builder::new()
        .tls_provider(provider())
        .tls_context(tls.clone())
        .build_https();
    if proxies().is_empty() {
        return Ok(direct);
    }
    check_proxies()?;
    let proxied = Builder::new().build_with_connector_fn(move |settings, _| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.tls_provider(provider()).tls_context(tls.clone()).build()
    });
    Ok(http_client_fn(move |settings, components| {
        SharedHttpConnector::new(ByHost {
            direct: direct.http_connector(settings, components),
            proxied: proxied.http_connector(settings, components),
        })
    }))
}

/// The proxies that the variables name, and what they do not serve; without names and passwords.
pub(super) fn describe_proxies() -> String {
    let proxies = proxies();
    if proxies.is_empty() {
        return "none".to_owned();
    }
    let mut said: Vec<String> = proxies.iter().map(|(name, proxy)| format!("{name}={proxy}")).collect();
    for name in ["NO_PROXY", "no_proxy"] {
        said.extend(std::env::var(name).map(|value| format!("{name}={value}")));
    }
    said.join(", ")
}

/// Which certificates are trusted.
pub(super) fn describe_certificates(settings: &Settings) -> String {
    if let Some(file) = ca_bundle(settings) {
        return format!("those of {file}, and no others");
    }
    let own = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        Some(format!("{name}={value}"))
    });
    own.unwrap_or_else(|| "the system's".to_owned())
}

/// The file of certificates that replaces the system's, where one is named.
fn ca_bundle(settings: &Settings) -> Option<String> {
    settings.value("AWS_CA_BUNDLE", "ca_bundle")
}

/// The variables of proxies that are set, and the proxies without names and passwords.
pub(super) fn proxies() -> Vec<(&'static str, String)> {
    let value = |name| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?));
    let without_login = |(name, value): (_, String)| (name, without_login(&value));
    PROXIES.into_iter().filter_map(value).map(without_login).collect()
}

/// Fails if a proxy would be passed over silently, because it cannot be understood.
fn check_proxies() -> Result<()> {
    for name in PROXIES {
        let value = std::env::var(name).unwrap_or_default();
        let url = match value.contains("://") {
            true => value.clone(),
            false => format!("http://{value}"),
        };
        let host = url.split_once("://").map_or("", |(_, host)| host.trim_end_matches('/'));
        let is_whole = !host.contains(['#', '/', '?', ' ']);
        if !value.is_empty() && (!is_whole || ProxyConfig::all(url.as_str()).is_err()) {
            let message = "not the URL of a proxy, http://name:password@host:port; # / @ and others in a name or password are written as %23 %2F %40";
            return Err(Error::new(ErrorKind::Invalid, Step::Input, name, message));
        }
    }
    Ok(())
}

/// The URL of a host without the name and the password in it.
pub(super) fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// Trust in the certificates of a file and in no others, as the command line has it. Those that rustls does not read are left out.
fn trusting(file: &str) -> Result<TlsContext> {
    let failed = |message: &str| Err(Error::new(ErrorKind::Invalid, Step::Input, file, message));
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            return failed(&format!(
                "the certificates that AWS_CA_BUNDLE or the profile names: {error}"
            ));
        }
    };
    let mut pem = String::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes).flatten() {
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            let text = BASE64_STANDARD.encode(&certificate);
            // What is written to a string arrives.
            let _ = writeln!(pem, "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----");
        }
    }
    if pem.is_empty() {
        return failed("AWS_CA_BUNDLE or the profile names it, but it holds no certificate in PEM");
    }
    let store = TrustStore::empty().with_pem_certificate(pem);
    match TlsContext::builder().with_trust_store(store).build() {
        Ok(context) => Ok(context),
        Err(error) => failed(&error.to_string()),
    }
}

/// A machine asks for its own role at an address of its own, which no proxy knows.
#[derive(Debug)]
struct ByHost {
    direct: SharedHttpConnector,
    proxied: SharedHttpConnector,
}

impl HttpConnector for ByHost {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match is_link_local(request.uri()) {
            true => self.direct.call(request),
            false => self.proxied.call(request),
        }
    }
}

fn is_link_local(uri: &str) -> bool {
    let (_, rest) = uri.split_once("://").unwrap_or_default();
    let host = match rest.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => rest.split(['/', ':', '?']).next(),
    };
    match host.and_then(|host| host.parse().ok()) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        // Of these, fd00:ec2::254 and fd00:ec2::23 are the metadata of machines and containers.
        Some(IpAddr::V6(address)) => address.segments()[..2] == [0xfd00, 0xec2],
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_of_machines_are_asked_directly() {
        for uri in [
            "http://169.254.169.254/latest/meta-data/iam",
            "http://169.254.170.2:80/v2",
            "http://[fd00:ec2::254]/latest",
        ] {
            assert!(is_link_local(uri), "{uri}");
        }
        for uri in [
            "https://b.s3.eu-west-3.amazonaws.com/169.254.169.254",
            "http://127.0.0.1:9000/b",
            "http://[::1]:80/",
            "/path",
        ] {
            assert!(!is_link_local(uri), "{uri}");
        }
    }
}
