//! Deploys template.yaml, the file that runs on AWS, to the local cloud: translated, with the functions built here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use aws_config::SdkConfig;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_cloudformation::types::{Capability, Parameter, StackStatus};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::process::Command;

use crate::{
    bootstraps::Package,
    kept::Kept,
    tools::{Toolchain, succeeded},
};

const BUCKET: &str = "rootcast-code";
/// CloudFormation's words for an update that changes nothing.
const UNCHANGED: &str = "No updates are to be performed.";
const POLL: Duration = Duration::from_millis(100);

/// The stack's outputs, with their names in template.yaml: API id, table names, queue URLs.
#[derive(Clone, Debug)]
pub struct Outputs(BTreeMap<String, String>);

impl Outputs {
    /// # Errors
    /// template.yaml has no output with that name; the message lists all outputs.
    pub fn of(&self, name: &str) -> Result<&str> {
        let known = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("template.yaml has no output {name}, only: {}", known()))
    }

    /// Every output's name and value, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// By the template's path and the parameters.
static TRANSLATED: Kept<(PathBuf, BTreeMap<String, String>), String> = Kept::new();

/// Translates SAM to CloudFormation, without a cloud: by the first call with these parameters in this process. The cloud's
/// address is left to CloudFormation, so that the translation is the same for every cloud.
pub(crate) async fn translate(
    tools: &Toolchain,
    template: &Path,
    parameters: &BTreeMap<String, String>,
) -> Result<String> {
    let mut parameters = parameters.clone();
    parameters.remove("EndpointUrl");
    let key = (template.to_owned(), parameters.clone());
    let translation = async {
        let translated = Command::new(&tools.template)
            .arg(tools.scripts.join("translate.py"))
            .arg(template)
            .arg(BUCKET)
            .args(parameters.iter().map(|(name, value)| format!("{name}={value}")))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        String::from_utf8(succeeded("the translation", translated)?).context("the translated template is not UTF-8")
    };
    TRANSLATED.or_make(key, translation).await
}

/// Uploads the packages, creates the stack, and waits until it is complete.
pub(crate) async fn create(
    config: &SdkConfig,
    stack: &str,
    template: String,
    packages: &[Package],
    parameters: &BTreeMap<String, String>,
) -> Result<Outputs> {
    let template_url = upload(config, packages, template).await?;
    let formation = aws_sdk_cloudformation::Client::new(config);
    formation
        .create_stack()
        .stack_name(stack)
        // Pass the template by URL, as `sam deploy` does: CloudFormation's limit for an inline template is 51 200
        // bytes.
        .template_url(template_url)
        .capabilities(Capability::CapabilityNamedIam)
        .set_parameters(Some(given(parameters)))
        .send()
        .await?;
    complete(&formation, stack).await
}

/// Updates the stack to the template and the packages, and waits until it is complete.
pub(crate) async fn update(
    config: &SdkConfig,
    stack: &str,
    template: String,
    packages: &[Package],
    parameters: &BTreeMap<String, String>,
) -> Result<Outputs> {
    let template_url = upload(config, packages, template).await?;
    let formation = aws_sdk_cloudformation::Client::new(config);
    let updated = formation
        .update_stack()
        .stack_name(stack)
        .template_url(template_url)
        .capabilities(Capability::CapabilityNamedIam)
        .set_parameters(Some(given(parameters)))
        .send()
        .await;
    match updated.map_err(SdkError::into_service_error) {
        Err(error) if error.message() != Some(UNCHANGED) => Err(error)
            .context("the stack cannot be updated; one that was kept can be left: name another folder with --data"),
        _ => complete(&formation, stack).await,
    }
}

/// Those that the template has.
pub(crate) fn known(template: &str, parameters: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let template: serde_json::Value = serde_json::from_str(template)?;
    let has = |name: &str| template["Parameters"].get(name).is_some();
    Ok(parameters.iter().filter(|(name, _)| has(name)).map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn given(parameters: &BTreeMap<String, String>) -> Vec<Parameter> {
    let parameter = |(name, value)| Parameter::builder().parameter_key(name).parameter_value(value).build();
    parameters.iter().map(parameter).collect()
}

async fn complete(formation: &aws_sdk_cloudformation::Client, stack: &str) -> Result<Outputs> {
    loop {
        let described = formation.describe_stacks().stack_name(stack).send().await?;
        let stack = described.stacks().first().context("the stack is gone")?;
        match stack.stack_status() {
            Some(StackStatus::CreateComplete | StackStatus::UpdateComplete) => {
                let pairs = stack
                    .outputs()
                    .iter()
                    .filter_map(|output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned())));
                return Ok(Outputs(pairs.collect()));
            }
            Some(
                StackStatus::CreateInProgress
                | StackStatus::UpdateInProgress
                | StackStatus::UpdateCompleteCleanupInProgress,
            ) => tokio::time::sleep(POLL).await,
            status => bail!(
                "the stack is {}: {}{}",
                status.map_or("in no state", StackStatus::as_str),
                stack.stack_status_reason().unwrap_or("no reason given"),
                failures(formation, stack.stack_name().unwrap_or_default()).await
            ),
        }
    }
}

/// Returns the template's address. Uses plain HTTP requests, which the local cloud accepts without a signature: the
/// S3 SDK is the largest of all and not worth it.
async fn upload(config: &SdkConfig, packages: &[Package], template: String) -> Result<String> {
    let endpoint = config.endpoint_url().context("the local cloud has an address")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let store = format!("{endpoint}/{BUCKET}");
    client.put(&store).send().await?.error_for_status()?;
    let put = async |name: String, body: reqwest::Body| {
        let answer = client.put(format!("{store}/{name}")).body(body).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map(|_| ()).with_context(|| format!("{name} could not be uploaded"))
    };
    let uploads = packages.iter().map(|package| put(package.name.clone(), package.zip.clone().into()));
    stream::iter(uploads).buffer_unordered(2).try_collect::<()>().await?;
    let named = packages.iter().fold(template, |template, package| {
        template.replace(&format!("\"{}.zip\"", package.function), &format!("\"{}\"", package.name))
    });
    put("template.json".to_owned(), named.into()).await?;
    Ok(format!("{store}/template.json"))
}

/// The error messages of the failed resources.
async fn failures(formation: &aws_sdk_cloudformation::Client, stack: &str) -> String {
    let Ok(events) = formation.describe_stack_events().stack_name(stack).send().await else {
        return String::new();
    };
    let failed = events
        .stack_events()
        .iter()
        .filter(|event| event.resource_status().is_some_and(|status| status.as_str().ends_with("FAILED")));
    failed
        .map(|event| {
            let resource = event.logical_resource_id().unwrap_or_default();
            format!("\n{resource}: {}", event.resource_status_reason().unwrap_or("no reason given"))
        })
        .collect()
}
