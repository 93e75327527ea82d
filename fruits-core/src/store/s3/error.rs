//! What to make of a failed request.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{Bucket, CHANGED, DEADLINE};
use crate::error::{Error, ErrorKind, Step};

impl Bucket {
    pub(super) fn overdue(&self, step: Step, key: &str) -> Error {
        let message = format!(
            "the service does not answer: nothing came of {key} for {} s",
            DEADLINE.as_secs()
        );
        Error::new(ErrorKind::Unavailable, step, self.uri(""), message)
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
            ("NoSuchBucket", _) => about_all(ErrorKind::Invalid, "there is no such bucket"),
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
            (_, None) if has_cause::<CredentialsError>(&error) => about_all(
                ErrorKind::Denied,
                "no credentials found; set AWS_PROFILE or the AWS_* variables, or AWS_SKIP_SIGNATURE=true for a public bucket",
            ),
            (_, Some(400..=499)) if code != "RequestTimeout" && !matches!(status, Some(408 | 429)) => {
                about_key(ErrorKind::Invalid, &format!("the service refused: {}", reason(&error)))
            }
            _ => about_all(
                ErrorKind::Unavailable,
                "the service does not answer as it should, after all tries",
            ),
        }
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

fn has_cause<T: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| error.is::<T>())
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
