//! Whether the SSM parameters exist with which devices are to be visited. A worker would say so only at the first visit.
//!
//! The question is for a parameter's tags, since nobody may read a credential here. Only a clear no refuses a device: an answer
//! that is missing for another reason is no reason to turn it away.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::ResourceTypeForTagging;
use futures::{StreamExt, stream};
use tracing::warn;

/// Most names that one request asks about, and how many at once. The others are believed.
const MOST_ASKED: usize = 100;
const AT_ONCE: usize = 10;
/// For all of them: the function has 29 s, and needs most of them for the devices.
const LIMIT: Duration = Duration::from_secs(4);

/// Those of these names that name no parameter.
pub(crate) async fn missing(ssm: &Client, names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let names: BTreeSet<String> = names.into_iter().collect();
    let questions: Vec<_> = names.into_iter().take(MOST_ASKED).map(|name| is_missing(ssm, name)).collect();
    let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
    let mut missing = BTreeSet::new();
    let collected = async {
        while let Some(answer) = answers.next().await {
            missing.extend(answer);
        }
    };
    // What is not answered by then is believed, too.
    let _ = tokio::time::timeout(LIMIT, collected).await;
    missing
}

/// The name, if it is of no parameter.
async fn is_missing(ssm: &Client, name: String) -> Option<String> {
    let asked = ssm.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter).resource_id(&name);
    match asked.send().await {
        Ok(_) => None,
        Err(error) if error.as_service_error().is_some_and(|error| error.is_invalid_resource_id()) => Some(name),
        Err(error) => {
            warn!(parameter = name, error = &error as &dyn Error, "whether a credential exists could not be asked");
            None
        }
    }
}

/// Why a device is refused whose credential is this parameter.
pub(crate) fn none_such(name: &str) -> String {
    format!(
        "credential: there is no SSM parameter {name}. Make it first (aws ssm put-parameter --type SecureString --name {name} --value \
         '{{\"username\":\"…\",\"password\":\"…\"}}'), or send user name and password in place of its name."
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use aws_sdk_ssm::operation::list_tags_for_resource::{ListTagsForResourceError, ListTagsForResourceOutput};
    use aws_sdk_ssm::types::error::{InternalServerError, InvalidResourceId};
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    use super::*;

    #[tokio::test]
    async fn only_what_surely_does_not_exist_is_missing() {
        let is = |wanted: &'static str| {
            move |asked: &aws_sdk_ssm::operation::list_tags_for_resource::ListTagsForResourceInput| {
                asked.resource_type() == Some(&ResourceTypeForTagging::Parameter) && asked.resource_id() == Some(wanted)
            }
        };
        let there = mock!(Client::list_tags_for_resource)
            .match_requests(is("/there"))
            .then_output(|| ListTagsForResourceOutput::builder().build());
        let gone = mock!(Client::list_tags_for_resource)
            .match_requests(is("/gone"))
            .then_error(|| ListTagsForResourceError::InvalidResourceId(InvalidResourceId::builder().build()));
        let failed = mock!(Client::list_tags_for_resource)
            .match_requests(is("/failed"))
            .then_error(|| ListTagsForResourceError::InternalServerError(InternalServerError::builder().build()));
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&there, &gone, &failed]);
        let missing = missing(&ssm, ["/gone", "/there", "/failed", "/gone"].map(str::to_owned)).await;
        assert_eq!(missing, BTreeSet::from(["/gone".to_owned()]));
        assert_eq!(gone.num_calls(), 1, "each name is asked about once");
    }
}
