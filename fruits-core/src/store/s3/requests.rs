//! What was asked of the service, told to who wants to know: never what was sent, and no header of it.

use std::time::Instant;

use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tracing::{Level, debug, enabled, info};

use super::error::causes;
use crate::error::printable;

/// Tells of each try of each request when it is answered, or has failed: the first that succeeds at the level of details, others at the
/// level of a run.
#[derive(Debug)]
pub(super) struct Requests;

/// A try, as it began.
#[derive(Debug)]
struct Begun {
    at: Instant,
    /// Method, host and path.
    what: String,
    sent: u64,
}

impl Storable for Begun {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "Requests"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if enabled!(Level::INFO) {
            let request = context.request();
            state.interceptor_state().store_put(Begun {
                at: Instant::now(),
                what: printable(&format!("{} {}", request.method(), place(request))),
                sent: request.body().content_length().unwrap_or_default(),
            });
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Begun { at, what, sent }) = state.load::<Begun>() else {
            return Ok(());
        };
        let ms = at.elapsed().as_millis() as u64;
        let attempt = state.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts);
        let Some(response) = context.response() else {
            let why = match context.output_or_error() {
                Some(Err(error)) => causes(error),
                _ => String::new(),
            };
            info!(attempt, ms, "{what}: no answer: {why}");
            return Ok(());
        };
        let status = response.status().as_u16();
        let length = response.headers().get("content-length");
        let bytes = length.and_then(|length| length.parse::<u64>().ok()).unwrap_or_default();
        if attempt == 1 && status < 400 {
            debug!(status, attempt, sent, bytes, ms, "{what}");
        } else {
            info!(status, attempt, sent, bytes, ms, "{what}");
        }
        Ok(())
    }
}

/// Host and path. What was asked for behind a `?` is of no interest, and might be a signature.
fn place(request: &HttpRequest) -> &str {
    let uri = request.uri();
    let uri = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let uri = uri.split('?').next().unwrap_or_default();
    let host = uri.split('/').next().unwrap_or_default();
    host.rfind('@').map_or(uri, |login| &uri[login + 1..])
}
