//! `rootcast rotate --compromised`: what it breaks, before anybody agrees to it.

use anyhow::{Context as _, Result};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_dialects::native::Root;

use crate::api::Api;
use crate::ask;
use crate::output::plain;

/// The compromised root, and all of them.
pub(super) struct Compromised {
    pub(super) generation: u32,
    name: String,
    roots: Vec<Root>,
}

pub(super) async fn root(api: &Api, generation: Option<u32>) -> Result<Compromised> {
    let roots: Vec<Root> = api.get("/signingCertificate/details", &[]).await?;
    let is_it = |root: &&Root| match generation {
        Some(generation) => root.generation == generation,
        None => root.state == GenerationState::Signing,
    };
    let root = roots.iter().find(is_it).with_context(|| match generation {
        Some(generation) => format!("there is no root generation {generation}: rootcast root show"),
        None => "no root signs yet, so none can be compromised".to_owned(),
    })?;
    let name = common_name(root).to_owned();
    Ok(Compromised { generation: root.generation, name, roots })
}

/// A rotation replaces the root that signs; a first root replaces none, and is made without a question.
pub(super) async fn is_meant(api: &Api, is_immediate: bool) -> Result<bool> {
    let roots: Vec<Root> = api.get("/signingCertificate/details", &[]).await?;
    let Some(signing) = roots.iter().find(|root| root.state == GenerationState::Signing) else { return Ok(true) };
    let how = if is_immediate {
        "The new one signs at once: connections fail until the devices hold it."
    } else {
        "The new one signs when every device holds it."
    };
    let name = common_name(signing);
    let question = format!("Replace root generation {}, {}? {how}", signing.generation, plain(name));
    ask::is_meant(false, &question, name).await
}

fn common_name(root: &Root) -> &str {
    let name = root.subject_dn.split(',').find_map(|part| part.trim().strip_prefix("CN="));
    name.unwrap_or(&root.subject_dn)
}

/// Whoever replaces the wrong one cannot undo it, so the name is typed.
pub(super) async fn confirmed(root: &Compromised) -> Result<bool> {
    let question = format!("{}\nType the root's name to go on: ", root.breaks());
    Ok(ask::typed(question).await? == root.name)
}

impl Compromised {
    fn breaks(&self) -> String {
        let Self { generation, name, roots } = self;
        let is_it = |root: &&Root| root.generation == *generation;
        let heading = format!("Root generation {generation} ({}) is compromised.", plain(name));
        let not_yet = roots.iter().find(is_it).is_some_and(|root| {
            matches!(root.state, GenerationState::Reserved | GenerationState::Published | GenerationState::Abandoned)
        });
        if not_yet {
            return format!(
                "{heading} It does not sign yet: its key is disabled, and its rollover is aborted, which takes it off the devices."
            );
        }
        let live = roots.iter().filter(|root| root.state.is_live());
        let leaving = live.map(|root| plain(&root.subject_dn)).collect::<Vec<_>>().join("; ");
        let below = roots.iter().filter(is_it).flat_map(|root| &root.issuing_authorities);
        let below = below.map(|issuing| issuing.id.clone()).collect::<Vec<_>>().join(", ");
        let below = if below.is_empty() { String::new() } else { format!(", by issuing authorities {below},") };
        format!(
            "{heading} This cannot be undone:\n\
             - Its key is disabled at once, and never signs again. It stays in KMS as evidence.\n\
             - A new root signs at once, before any device holds it.\n\
             - These roots leave every device, since through its links each leads to the others: {leaving}.\n\
             - What was signed below it{below} is revoked. Who checks that refuses the devices until they have other certificates; so does \n  \
               whoever trusts only the new root.\n\
             - Imported certificates below these roots are refused until their owners replace them. The job names them.\n\
             - A device that cannot be reached goes on trusting the compromised root. The job names it, and does not end without it or a waiver.\n\
             - No device can verify the next bundle by a root that it holds now: those that fetch it themselves need it from you.\n\
             - A rollover that runs ends. The new root's job does what it had left, and cannot be aborted or rolled back."
        )
    }
}
