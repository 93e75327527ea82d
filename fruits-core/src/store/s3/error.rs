//! What to make of a failed request.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::client::Origin;
use super::settings::HOST_STYLE;
use super::{Bucket, CHANGED, network};
use crate::error::{Error, ErrorKind, Result, Step};

impl Bucket {
    pub(super) fn overdue(&self, step: Step, key: &str, deadline: Duration) -> Error {
        let message = format!(
            "the service does not answer: nothing came of {key} for {} s",
            deadline.as_secs()
        );
        Error::new(ErrorKind::Unavailable, step, self.uri(""), message)
    }

    /// What came of a request in the time that it has.
    pub(super) async fn in_time<T, E>(
        &self,
        step: Step,
        key: &str,
        deadline: Duration,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> Result<T>
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        match tokio::time::timeout(deadline, request).await {
            Ok(result) => result.map_err(|error| self.error(step, key, error)),
            Err(_) => Err(self.overdue(step, key, deadline)),
        }
    }

    /// What to make of a failed request. What would befall every other request too is about the root, not about the key.
    pub(super) fn error<E>(&self, step: Step, key: &str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let code = error.code().unwrap_or_default();
        let response = error.raw_response();
        let status = response.map(|response| response.status().as_u16());
        let region = response.and_then(|response| response.headers().get("x-amz-bucket-region"));
        let about_key = |kind, message: &str| Error::new(kind, step, self.uri(key), message);
        let about_all = |kind, message: &str| {
            let key = match key {
                "" => String::new(),
                key => format!(" (at {key})"),
            };
            let message = format!("{message}{key}: {}", reason(&error));
            Error::new(kind, step, self.uri(""), message)
        };
        match (code, status) {
            // Not NotFound, which a new prefix is too.
            ("NoSuchBucket", _) => about_all(
                ErrorKind::Invalid,
                &format!("there is no such bucket{}", self.other_style("; if there is, ")),
            ),
            // As OSS and TOS say it.
            ("SecondLevelDomainForbidden" | "InvalidPathAccess", _) => about_all(
                ErrorKind::Invalid,
                &format!("the service wants the bucket's name in the host's; set {HOST_STYLE}=true"),
            ),
            ("InvalidObjectState", _) => {
                let message = "archived in a cold storage class; restore the object first";
                about_key(ErrorKind::Unsupported, message)
            }
            ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired", _) => about_all(
                ErrorKind::Denied,
                "the credentials have expired; renew them and run again",
            ),
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "NotSignedUp", _) => about_all(
                ErrorKind::Denied,
                "the credentials are not valid here; check AWS_PROFILE, the AWS_* variables and the endpoint",
            ),
            ("RequestTimeTooSkewed", _) => about_all(ErrorKind::Denied, "this machine's clock is wrong; set it"),
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
            | (_, Some(301 | 307)) => about_all(
                ErrorKind::Denied,
                &format!(
                    "the bucket lies in the region {}; set AWS_REGION to it",
                    region.unwrap_or("of another endpoint")
                ),
            ),
            ("PreconditionFailed" | "ConditionalRequestConflict", _) | (_, Some(412)) => {
                about_key(ErrorKind::AlreadyExists, CHANGED)
            }
            (_, Some(404)) if !key.is_empty() => about_key(ErrorKind::NotFound, "no such key"),
            ("AccessDenied" | "AllAccessDisabled", _) | (_, Some(401 | 403)) => {
                let action = match step {
                    Step::List => "s3:ListBucket",
                    Step::Write => "s3:PutObject and s3:DeleteObject",
                    _ => "s3:GetObject",
                };
                let message =
                    format!("access denied; the policies of these credentials and of the bucket must allow {action}");
                match (step, key) {
                    // Others may be readable.
                    (Step::Read, key) if !key.is_empty() => about_key(ErrorKind::Denied, &message),
                    _ => about_all(ErrorKind::Denied, &message),
                }
            }
            (_, None) if has_cause::<CredentialsError>(&error) => self.no_credentials(&error),
            // As B2, OSS, R2 and older MinIO and Ceph say it.
            ("InvalidArgument" | "InvalidRequest" | "XAmzContentSHA256Mismatch" | "BadDigest", Some(400))
            | (_, Some(501))
                if step == Step::Write && self.sends_checksums() =>
            {
                about_all(
                    ErrorKind::Invalid,
                    "the service refused; if it does not know Amazon's checksums, set AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
                )
            }
            (_, Some(400..=499)) if code != "RequestTimeout" && !matches!(status, Some(408 | 429)) => {
                about_key(ErrorKind::Invalid, &format!("the service refused: {}", reason(&error)))
            }
            (_, None) => about_all(
                ErrorKind::Unavailable,
                &format!("the service cannot be reached{}", self.way(&causes(&error))),
            ),
            _ => about_all(
                ErrorKind::Unavailable,
                "the service does not answer as it should, after all tries",
            ),
        }
    }

    /// Why requests cannot be signed, and what to do.
    pub(super) fn no_credentials(&self, error: &(dyn StdError + 'static)) -> Error {
        let why = self.origin().map(|origin| origin.settings.why_no_credentials());
        let mut message = why.unwrap_or_else(|| "no credentials".to_owned());
        let cause = chain(error).find_map(|error| error.downcast_ref::<CredentialsError>());
        // That nothing was found needs no reason.
        if let Some(cause) = cause.filter(|cause| !matches!(cause, CredentialsError::CredentialsNotLoaded(_))) {
            message = format!("{message}: {}", causes(cause));
        }
        Error::new(ErrorKind::Denied, Step::Input, self.uri(""), message)
    }

    fn origin(&self) -> Option<&Origin> {
        self.connection.get()?.origin.as_ref()
    }

    /// The switch to the other of the two ways to name a bucket, for services that know only one of them.
    fn other_style(&self, before: &str) -> String {
        match self.origin() {
            Some(origin) if origin.has_own_endpoint => {
                let (place, other) = match origin.is_host_style {
                    true => ("path", false),
                    false => ("host's name", true),
                };
                format!("{before}the service may want its name in the {place}: set {HOST_STYLE}={other}")
            }
            _ => String::new(),
        }
    }

    /// Whether a service that is not Amazon's gets checksums that it need not know.
    fn sends_checksums(&self) -> bool {
        let is_off = std::env::var("AWS_REQUEST_CHECKSUM_CALCULATION")
            .is_ok_and(|value| value.eq_ignore_ascii_case("when_required"));
        !is_off && self.origin().is_some_and(|origin| origin.has_own_endpoint)
    }

    /// What lies on the way to the service, and what may be wrong with it.
    fn way(&self, causes: &str) -> String {
        let mut way = match network::proxies().as_slice() {
            [] => String::new(),
            proxies => {
                let proxies: Vec<String> = proxies.iter().map(|(name, proxy)| format!("{name}={proxy}")).collect();
                format!(" ({})", proxies.join(", "))
            }
        };
        let advice = if causes.contains("proxy authorization required") {
            "; the proxy wants a name and a password: HTTPS_PROXY=http://name:password@host:port"
        } else if causes.contains("tunnel error") {
            "; the proxy does not let it through: check HTTPS_PROXY, or name this host in NO_PROXY"
        } else if causes.contains("UnknownIssuer") || causes.contains("invalid peer certificate") {
            "; its certificate is not trusted: set AWS_CA_BUNDLE to the file of your company's certificates"
        } else if causes.contains("dns error") {
            way += &self.other_style("; ");
            "; its name is not known here: check the endpoint and the region, and whether this network needs HTTPS_PROXY"
        } else {
            "; check the endpoint, and whether this network needs HTTPS_PROXY"
        };
        way + advice
    }
}

/// What the service said, or why it could not be asked.
fn reason<E: StdError + ProvideErrorMetadata + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => match error.raw_response() {
            Some(response) => format!("HTTP {}", response.status().as_u16()),
            None => causes(error),
        },
    }
}

/// An error with all its causes, each once, in one line.
pub(super) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for error in chain(error) {
        let text = error.to_string();
        if said.last().is_none_or(|last| !last.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

pub(super) fn has_cause<T: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| error.is::<T>())
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
