//! `rootcast root`: the root generations, and the signed bundle.

mod policy;
mod protect;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_dialects::native;
use rootcast_pki::bundle::{JwsError, Seen, Untimely, verify_bundle};
use rootcast_pki::certificate::{Certificate, split_pem_bundle};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use crate::{
    api::{Api, ApiError},
    arguments::AccessArguments,
    exit::End,
    output::{self, Format, note, out, plain, table},
    seen::Memory,
};

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Show every root, the one that signs first, and verify the published bundle against it
    Show(Show),
    /// Cancel the deletion of a retired root's key; it stays disabled
    Keep(Keep),
    /// Show or set the next root's algorithm, and when a root is replaced by itself
    Policy(policy::Policy),
    /// Give existing KMS keys the policy of this version and of LeavesFromRoot, with your AWS credentials
    ProtectKeys(protect::ProtectKeys),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Print the root that signs as PEM, and nothing else
    #[arg(long)]
    pem: bool,
    /// Print the links between the roots as PEM, and nothing else: newest root first, each signed by the one before and each
    /// signing that one
    #[arg(long, conflicts_with = "pem")]
    links: bool,
    /// PEM file with roots that you trust already: the bundle is verified against those and not against what the API says
    #[arg(long, value_name = "FILE", conflicts_with = "pem")]
    trusted: Option<PathBuf>,
    /// Accept a bundle that is older than the last one from this API, because the stack was deleted and created again
    #[arg(long, conflicts_with = "pem")]
    anew: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// The number of the root, as `rootcast root show` prints it
    generation: u32,
}

pub(crate) async fn run(arguments: &AccessArguments, command: RootCommand, format: Format) -> Result<End> {
    match command {
        RootCommand::Show(given) => {
            let access = arguments.resolve()?;
            let memory = Memory::beside(&arguments.file()?)?;
            show(&Api::connect(&access)?, &access.url, memory, given, format).await
        }
        RootCommand::Keep(Keep { generation }) => keep(&Api::connect(&arguments.resolve()?)?, generation, format).await,
        RootCommand::Policy(given) => policy::run(&Api::connect(&arguments.resolve()?)?, &given, format).await,
        RootCommand::ProtectKeys(given) => protect::run(given, format).await,
    }
}

async fn keep(api: &Api, generation: u32, format: Format) -> Result<End> {
    // Twice is as good as once.
    let path = format!("/roots/{generation}/keep");
    let answer: Option<Value> = api.send_repeatedly(Method::POST, &path, &json!({})).await?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => out!(
            "The key of root generation {generation} is kept: its deletion is cancelled within minutes. It stays disabled."
        ),
    }
    Ok(End::Done)
}

async fn show(api: &Api, url: &Url, memory: Memory<Seen>, show: Show, format: Format) -> Result<End> {
    if show.pem {
        let root = signing(api).await?.context("no root signs yet: rootcast rotate")?;
        match format {
            Format::Text => out!("{}", root.pem().trim_end()),
            Format::Json => output::json(&json!({"certificate": root.pem()}))?,
        }
        return Ok(End::Done);
    }
    let details: Vec<Value> = api.get("/signingCertificate/details", &[]).await?;
    let roots: Vec<native::Root> =
        serde_json::from_value(Value::Array(details.clone())).context("the roots cannot be read")?;
    if show.links {
        return links(&roots, format);
    }
    let roots = roots.into_iter().map(Root::read).collect::<Result<Vec<_>>>()?;
    let signing = signing(api).await?;
    let (trusted, by) = match &show.trusted {
        Some(file) => (read_trusted(file)?, "a root that you trust"),
        None => match &signing {
            Some(root) => (vec![root.clone()], "the root that signs"),
            None if roots.is_empty() => bail!("there is no root yet: rootcast rotate"),
            None => (roots.iter().map(|root| root.certificate.clone()).collect(), "a root that does not sign yet"),
        },
    };
    let jws = api.raw("/bundle").await?;
    let seen = memory.of(url).filter(|_| !show.anew);
    let bundle = match verify_bundle(jws, &trusted, OffsetDateTime::now_utc(), seen) {
        Err(JwsError::Untimely(why)) => {
            let advice = match why {
                Untimely::Older { .. } | Untimely::Differs { .. } => {
                    ". If the stack was deleted and created again, say so with --anew"
                }
                Untimely::Expired { .. } | Untimely::Undated { .. } => "",
            };
            bail!("the published bundle is signed, but do NOT use it: {why}{advice}")
        }
        verified => {
            verified.context("the published bundle does NOT verify: do not use it, and find out who wrote it")?
        }
    };
    if let Err(error) = memory.keep(url, bundle.seen(), show.anew) {
        note!("the bundle is good, but is not remembered: {error:#}");
    }
    match format {
        Format::Json => {
            let anchors: Vec<_> = bundle.anchors.iter().map(Certificate::fingerprint).collect();
            let bundle = json!({
                "version": bundle.version, "sha256": bundle.sha256(), "anchors": anchors,
                "others": bundle.others, "verified": true,
                "expires": bundle.exp.map(|at| at.format(&Rfc3339)).transpose()?,
            });
            output::json(&json!({"roots": details, "bundle": bundle}))?;
        }
        Format::Text => {
            for root in &roots {
                out!("{}\n", root.describe(signing.as_ref() == Some(&root.certificate)));
            }
            let row = |anchor: &Certificate| {
                let whose = if bundle.others.contains(&anchor.fingerprint()) { " (of others)" } else { "" };
                [format!("{}{whose}", anchor.subject_dn()), anchor.fingerprint().to_string()]
            };
            let rows: Vec<_> = bundle.anchors.iter().map(row).collect();
            out!(
                "Bundle version {}, valid until {}; its signature by {by} verifies:\n{}",
                bundle.version,
                bundle.exp.map(|at| at.format(&Rfc3339)).transpose()?.unwrap_or_default(),
                table(["anchor", "sha256"], &rows)
            );
        }
    }
    Ok(End::Done)
}

fn links(roots: &[native::Root], format: Format) -> Result<End> {
    let kinds =
        |root: &native::Root| [("newWithOld", root.new_with_old.clone()), ("oldWithNew", root.old_with_new.clone())];
    let all = roots.iter().flat_map(|root| kinds(root).map(|(kind, pem)| (root.generation, kind, pem)));
    let all = all.filter_map(|(generation, kind, pem)| Some((generation, kind, pem?)));
    match format {
        Format::Text => {
            for (_, _, pem) in all {
                out!("{}", pem.trim_end());
            }
        }
        Format::Json => {
            let row = |(generation, kind, pem)| json!({"generation": generation, "kind": kind, "certificate": pem});
            output::list(&all.map(row).collect::<Vec<_>>())?;
        }
    }
    Ok(End::Done)
}

struct Root {
    details: native::Root,
    certificate: Certificate,
}

impl Root {
    fn read(details: native::Root) -> Result<Self> {
        let certificate = Certificate::from_pem(&details.certificate);
        let certificate =
            certificate.with_context(|| format!("the certificate of {} cannot be read", details.subject_dn))?;
        Ok(Self { details, certificate })
    }

    fn describe(&self, signs: bool) -> String {
        let root = &self.details;
        let issuing = root.issuing_authorities.iter().map(|issuing| {
            // The states of issuing authorities have the same names in JSON.
            let state = serde_json::to_value(issuing.state).unwrap_or_default();
            let state = state.as_str().unwrap_or_default().to_owned();
            ("Issuing", format!("{} ({state}), until {}", issuing.subject_dn, issuing.not_after))
        });
        let lines = [
            ("Root", format!("{}{}", root.subject_dn, if signs { " (signs)" } else { "" })),
            ("Generation", format!("{}, {}", root.generation, in_words(root.state))),
            ("Next", root.comes_next.clone()),
            ("Compromised", root.compromised.as_ref().map_or_else(String::new, compromised)),
            ("Issuer", root.issuer_dn.clone()),
            ("Serial", root.serial_number.clone()),
            ("Algorithm", root.signature_algorithm.clone()),
            ("Valid", format!("{} to {}", root.not_before, root.not_after)),
            ("SHA-256", self.certificate.fingerprint().to_string()),
        ];
        let line = |(name, value): (&str, String)| format!("{name:12}{}", plain(&value));
        let lines = lines.into_iter().filter(|(name, value)| !value.is_empty() || *name != "Compromised");
        lines.chain(issuing).map(line).collect::<Vec<_>>().join("\n")
    }
}

fn compromised(root: &native::CompromisedRoot) -> String {
    let more = if root.is_done { "" } else { " so far" };
    format!("since {}, by {}; {} certificates below it are revoked{more}", root.at, root.by, root.certificates_revoked)
}

const fn in_words(state: GenerationState) -> &'static str {
    match state {
        GenerationState::Reserved => "being made",
        GenerationState::Published => "on its way to the devices",
        GenerationState::Signing => "signs",
        GenerationState::Superseded => "signed before, and is still trusted",
        GenerationState::Distrusted => "no longer trusted",
        GenerationState::Retired => "no longer trusted, and its key is out of use",
        GenerationState::Abandoned => "given up before it signed",
    }
}

/// `None` before the end of the first rollover.
async fn signing(api: &Api) -> Result<Option<Certificate>> {
    match api.raw("/signingCertificate").await {
        Ok(pem) => Ok(Some(Certificate::from_pem(&pem).context("the API did not answer with a certificate")?)),
        Err(ApiError::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_trusted(file: &Path) -> Result<Vec<Certificate>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    split_pem_bundle(&text).with_context(|| format!("{} holds no certificates", file.display()))
}
