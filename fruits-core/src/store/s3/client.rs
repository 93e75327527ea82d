//! The client: from the user's settings, with our patience.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_smithy_runtime::client::retries::TokenBucket;
use aws_types::service_config::ServiceConfigKey;

use super::network;
use super::requests::Requests;
use super::settings::Settings;
use crate::error::Result;

/// Tries of one request. With the SDK's back-off that is some three minutes of a service that says `503 Slow Down`.
pub(super) const ATTEMPTS: u32 = 50;
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// A request without an answer, or an answer that stands still, is given up after this time and tried again.
pub(super) const STALL: Duration = Duration::from_secs(10);
/// Where a bucket is said to lie if nothing says so; S3 answers with the right region, other services do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// A client, and what it was made from.
#[derive(Debug)]
pub(super) struct Connection {
    pub client: Client,
    /// Nothing if the client was made elsewhere.
    pub origin: Option<Origin>,
}

#[derive(Debug)]
pub(super) struct Origin {
    pub settings: Settings,
    pub config: SdkConfig,
    pub has_own_endpoint: bool,
    pub is_host_style: bool,
}

impl Origin {
    /// What leads to the service, by name, without secrets.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let profile = match set("AWS_ACCESS_KEY_ID") && set("AWS_SECRET_ACCESS_KEY") {
            true => "not asked for credentials: the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set"
                .to_owned(),
            false => self.settings.describe_profile(),
        };
        let region = match self.config.region() {
            Some(region) => region.to_string(),
            None => format!("{DEFAULT_REGION}, since nothing names one"),
        };
        let place = if self.is_host_style { "host's name" } else { "path" };
        let endpoint = endpoint(&self.config).map(|endpoint| network::without_login(&endpoint));
        let endpoint = endpoint.unwrap_or_else(|| "Amazon's".to_owned());
        vec![
            ("profile", profile),
            ("region", region),
            ("endpoint", format!("{endpoint}, with the bucket's name in the {place}")),
            ("proxy", network::describe_proxies()),
            ("certificates", network::describe_certificates(&self.settings)),
        ]
    }
}

/// The user's settings for any of Amazon's services.
pub(crate) async fn aws() -> Result<SdkConfig> {
    load(&Settings::load().await?).await
}

async fn load(settings: &Settings) -> Result<SdkConfig> {
    let stalls = StalledStreamProtectionConfig::enabled().grace_period(STALL);
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(network::http_client(settings)?)
        .retry_config(retries(ATTEMPTS))
        .timeout_config(timeouts(STALL))
        .stalled_stream_protection(stalls.build());
    if is_set("AWS_SKIP_SIGNATURE") {
        loader = loader.no_credentials();
    }
    Ok(loader.load().await)
}

/// The client for a bucket, which may be the ARN of an access point.
pub(super) async fn connect(bucket: &str) -> Result<Connection> {
    let settings = Settings::load().await?;
    let shared = load(&settings).await?;
    let has_own_endpoint = endpoint(&shared).is_some();
    let is_arn = bucket.starts_with("arn:");
    let is_host_style = is_arn || settings.host_style().unwrap_or(!has_own_endpoint);
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(!is_host_style)
        .use_arn_region(is_arn)
        .interceptor(Requests);
    if shared.region().is_none() {
        config = config.region(Region::from_static(DEFAULT_REGION));
    }
    // The SDK's own allowance for retries is made for services that answer people: it runs out after some dozen photos.
    let patient = RetryPartition::custom("fruits").token_bucket(TokenBucket::unlimited());
    Ok(Connection {
        client: Client::from_conf(config.retry_partition(patient.build()).build()),
        origin: Some(Origin {
            settings,
            config: shared,
            has_own_endpoint,
            is_host_style,
        }),
    })
}

/// The answer must begin within this time. It is counted from the beginning of the request, so uploads need more of it.
pub(super) fn timeouts(answer: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(STALL)
        .read_timeout(answer)
        .build()
}

pub(super) fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_max_backoff(MAX_BACKOFF)
}

/// The endpoint that is not Amazon's: by the variables or the profile, for all services or for S3.
pub(super) fn endpoint(config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let of_s3 = config
        .service_config()
        .zip(key.ok())
        .and_then(|(service, key)| service.load_config(key));
    of_s3.or_else(|| config.endpoint_url().map(str::to_owned))
}

/// Whether a variable says yes.
pub(super) fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false"))
}
