//! Steps of EMR.

use aws_sdk_emr::Client;
use aws_sdk_emr::error::DisplayErrorContext;
use aws_sdk_emr::types::{ActionOnFailure, HadoopJarStepConfig, StepConfig, StepState};
use tokio_util::task::TaskTracker;
use tracing::info;

use super::cluster::POLL;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::store;

/// Runs a command on a cluster, as a step, and waits for its end. Dropped before, it has the step cancelled by one of `ends`.
pub(super) async fn run(cluster: &str, arguments: Vec<String>, ends: &TaskTracker) -> Result<()> {
    let client = Client::new(&store::aws().await?);
    let failed = |error: aws_sdk_emr::Error| {
        Error::new(
            ErrorKind::Io,
            Step::Spark,
            cluster,
            DisplayErrorContext(&error).to_string(),
        )
    };
    let jar = HadoopJarStepConfig::builder()
        .jar("command-runner.jar")
        .set_args(Some(arguments))
        .build();
    let step = StepConfig::builder()
        .name("fruits")
        .action_on_failure(ActionOnFailure::Continue)
        .hadoop_jar_step(jar)
        .build();
    let request = client.add_job_flow_steps().job_flow_id(cluster).steps(step);
    let ids = request
        .send()
        .await
        .map_err(|error| failed(error.into()))?
        .step_ids
        .unwrap_or_default();
    info!("{cluster}: steps {ids:?}");
    let Some(id) = ids.first() else {
        return Err(Error::new(ErrorKind::Io, Step::Spark, cluster, "EMR accepted no step"));
    };
    let mut cancel = CancelStep {
        client: client.clone(),
        cluster: cluster.to_owned(),
        step: Some(id.clone()),
        ends: ends.clone(),
    };
    loop {
        let request = client.describe_step().cluster_id(cluster).step_id(id);
        let answer = request.send().await.map_err(|error| failed(error.into()))?;
        let status = answer.step.and_then(|step| step.status);
        match status.as_ref().and_then(|status| status.state.as_ref()) {
            Some(StepState::Completed) => {
                cancel.step = None;
                return Ok(());
            }
            Some(state @ (StepState::Cancelled | StepState::Failed | StepState::Interrupted)) => {
                cancel.step = None;
                let details = status.as_ref().and_then(|status| status.failure_details.as_ref());
                let told = details.map(|details| {
                    [&details.reason, &details.message, &details.log_file]
                        .into_iter()
                        .flatten()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .join("; ")
                });
                let message = format!("step {id} ended as {state}: {}", told.unwrap_or_default());
                return Err(Error::new(ErrorKind::Io, Step::Spark, cluster, message));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Cancels a step that nobody waits for any more.
struct CancelStep {
    client: Client,
    cluster: String,
    step: Option<String>,
    ends: TaskTracker,
}

impl Drop for CancelStep {
    fn drop(&mut self) {
        if let Some(step) = self.step.take() {
            let request = self.client.cancel_steps().cluster_id(&self.cluster).step_ids(step);
            self.ends.spawn(request.send());
        }
    }
}
