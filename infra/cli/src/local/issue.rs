//! A company service: an image server whose certificate is signed by the issuing authority below the active root, with its
//! KMS key.

use anyhow::{Context, Result};
use rcgen::{KeyPair, PublicKeyData};
use rootcast_ledger::{Ledger, Tables};
use rootcast_local::{ImageServer, LocalStack};
use rootcast_pki::root::{LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::subject::DeviceSubject;
use rootcast_vault::Vault;
use time::{Duration, OffsetDateTime};

const LIFETIME: Duration = Duration::DAY;

pub(super) struct Server {
    /// The root above its certificate.
    pub(super) generation: u32,
    /// Whether the devices are to trust that root.
    pub(super) is_trusted: bool,
    pub(super) images: ImageServer,
}

/// `name`: the name of the stack, which tags its keys.
pub(super) async fn server(stack: &LocalStack, name: &str) -> Result<Server> {
    let config = &stack.sdk_config;
    let tables = Tables { certificates: Some(stack.outputs.of("CertificatesTable")?.to_owned()), ..Tables::default() };
    let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(config), tables);
    let id = ledger.authority().await?.issuing.context("no issuing authority signs")?;
    let generation = id.generation;
    let issuing = ledger.issuing(id).await?.with_context(|| format!("issuing authority {id} has no record"))?;
    let (arn, issuer) =
        issuing.key_and_certificate().with_context(|| format!("issuing authority {id} is not complete"))?;

    let key = KeyPair::generate()?;
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let spec = LeafSpec {
        subject: DeviceSubject::new(format!("Images under root {generation}"), ["localhost".to_owned()], Vec::new())?,
        serial: Serial::from_random(random),
        not_before: issuer.not_before(),
        not_after: issuer.not_after().min(OffsetDateTime::now_utc() + LIFETIME),
        crl: None,
    };
    let prepared = prepare_server_leaf(&spec, &key.subject_public_key_info(), issuer)?;
    let vault =
        Vault::new(&aws_sdk_kms::Client::new(config), &aws_sdk_resourcegroupstagging::Client::new(config), name);
    let certificate = vault.sign_prepared(arn, prepared).await?;
    let chain = certificate.pem() + &issuer.pem();
    Ok(Server { generation, is_trusted: true, images: ImageServer::start(chain, key.serialize_pem())? })
}
