//! The outputs of a deployed stack.

use anyhow::{Context, Result};
use aws_config::SdkConfig;
use aws_sdk_cloudformation::types::Output;

/// A CloudFormation stack's outputs.
pub(crate) struct Stack {
    name: String,
    outputs: Vec<Output>,
}

impl Stack {
    pub(crate) async fn describe(config: &SdkConfig, name: &str) -> Result<Self> {
        let formation = aws_sdk_cloudformation::Client::new(config);
        let described = formation.describe_stacks().stack_name(name).send().await;
        let described =
            described.with_context(|| format!("the stack {name} cannot be read with your AWS credentials"))?;
        let outputs = described.stacks().first().map(|stack| stack.outputs().to_vec()).unwrap_or_default();
        Ok(Self { name: name.to_owned(), outputs })
    }

    pub(crate) fn output(&self, name: &str) -> Result<&str> {
        let found = self.outputs.iter().find(|output| output.output_key() == Some(name));
        found
            .and_then(|output| output.output_value())
            .with_context(|| format!("the stack {} has no output {name}: is it Rootcast's?", self.name))
    }
}
