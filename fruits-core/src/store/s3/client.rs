//! The client: from the user's settings, with our patience.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime::client::retries::TokenBucket;
use aws_types::service_config::ServiceConfigKey;

/// Tries of one request. With the SDK's back-off that is some three minutes of a service that says `503 Slow Down`.
const ATTEMPTS: u32 = 50;
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// A request without an answer, or an answer that stands still, is given up after this time and tried again.
const STALL: Duration = Duration::from_secs(10);
/// Where a bucket is said to lie if nothing says so; S3 answers with the right region, other services do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// The user's settings for any of Amazon's services.
pub(crate) async fn aws() -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let stalls = StalledStreamProtectionConfig::enabled().grace_period(STALL);
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(retries(ATTEMPTS))
        .timeout_config(timeouts(STALL))
        .stalled_stream_protection(stalls.build());
    if is_set("AWS_SKIP_SIGNATURE") {
        loader = loader.no_credentials();
    }
    loader.load().await
}

pub(super) async fn connect() -> Client {
    let shared = aws().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(has_own_endpoint(&shared));
    if shared.region().is_none() {
        config = config.region(Region::from_static(DEFAULT_REGION));
    }
    // The SDK's own allowance for retries is made for services that answer people: it runs out after some dozen photos.
    let patient = RetryPartition::custom("fruits").token_bucket(TokenBucket::unlimited());
    Client::from_conf(config.retry_partition(patient.build()).build())
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

/// Whether the endpoint is not Amazon's: by the variables or the profile, for all services or for S3.
fn has_own_endpoint(config: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let of_s3 = config
        .service_config()
        .zip(key.ok())
        .and_then(|(service, key)| service.load_config(key));
    of_s3.is_some() || config.endpoint_url().is_some()
}

/// Whether a variable says yes.
pub(super) fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false"))
}
