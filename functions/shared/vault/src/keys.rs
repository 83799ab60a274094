//! Existing keys, found by their tags.

use aws_sdk_resourcegroupstagging::types::{ResourceTagMapping, TagFilter};
use rootcast_core::installation::InstallationId;
use rootcast_kms::KmsError;
use rootcast_pki::root::Serial;

use crate::{GENERATION_TAG, INSTALLATION_TAG, KeyRole, SERIAL_TAG, STACK_TAG, Vault, VaultError};

/// What a key is created for. Generation numbers and stack names are reused after a loss of the tables; installation
/// ids and serial numbers never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    pub installation: InstallationId,
    pub role: KeyRole,
    /// The root's own, or that of the root above the issuing authority.
    pub generation: u32,
    /// The serial number that is reserved for the certificate of root or issuing authority, and recorded.
    pub serial: Serial,
}

/// A key with this stack's name, as the tag index returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedKey {
    pub arn: String,
    pub generation: u32,
    /// `None`: created before installations had ids, or tagged by another party.
    pub installation: Option<InstallationId>,
}

/// A key that was created for one root or issuing authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeKey {
    pub arn: String,
    pub standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Usable,
    /// KMS does not know the key, or denies access. Temporary for a key that was just created.
    Unseen,
    /// Could be enabled: a root's key sleeps.
    Disabled,
    /// Pending deletion.
    Dead,
}

impl Vault {
    /// The keys that were created for this root or issuing authority, usable ones first: what a crash after
    /// [`Vault::create_key`] left. Excludes keys of another installation, or of a root without a record. Serial numbers
    /// differ, so the role needs no filter, and keys from before there were roles are found.
    ///
    /// The tag index follows KMS with a delay of seconds: a key that was just created may be missing. Keys that are
    /// disabled or pending deletion stay in the index, but
    /// [refuse](https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html) to return their public key.
    pub async fn keys_of(&self, purpose: &Purpose) -> Result<Vec<MadeKey>, VaultError> {
        let filters = [(INSTALLATION_TAG, purpose.installation.to_string()), (SERIAL_TAG, purpose.serial.to_string())];
        let mut made = Vec::new();
        for mapping in self.tagged(&filters).await? {
            let Some(arn) = mapping.resource_arn else { continue };
            let standing = match self.get_public_key(&arn).await {
                Ok(_) => Standing::Usable,
                Err(error) if error.may_be_too_early() => Standing::Unseen,
                Err(error) if error.is_disabled() => Standing::Disabled,
                Err(error) if error.is_unusable() => Standing::Dead,
                Err(error) => return Err(error),
            };
            made.push(MadeKey { arn, standing });
        }
        made.sort_unstable_by(|a, b| (a.standing, &a.arn).cmp(&(b.standing, &b.arn)));
        Ok(made)
    }

    /// Every key of a root or an issuing authority with this stack's name, from any installation, sorted by generation.
    pub async fn keys_of_stack(&self) -> Result<Vec<TaggedKey>, VaultError> {
        let of = |mapping: ResourceTagMapping| {
            // Keys that template.yaml creates have no generation.
            let generation = tag_of(&mapping, GENERATION_TAG)?.parse().ok()?;
            let installation = tag_of(&mapping, INSTALLATION_TAG).and_then(|text| text.parse().ok());
            Some(TaggedKey { generation, installation, arn: mapping.resource_arn? })
        };
        let mut found: Vec<_> = self.tagged(&[]).await?.into_iter().filter_map(of).collect();
        found.sort_unstable_by(|a, b| (a.generation, &a.arn).cmp(&(b.generation, &b.arn)));
        Ok(found)
    }

    async fn tagged(&self, filters: &[(&str, String)]) -> Result<Vec<ResourceTagMapping>, VaultError> {
        let filter = |key: &str, value: &str| TagFilter::builder().key(key).values(value).build();
        let filters = filters.iter().map(|(key, value)| filter(key, value));
        let filters = std::iter::once(filter(STACK_TAG, &self.stack)).chain(filters).collect();
        let mut pages = self
            .tagging
            .get_resources()
            .resource_type_filters("kms:key")
            .set_tag_filters(Some(filters))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| KmsError::new("tag:GetResources", None, error))?;
            found.extend(page.resource_tag_mapping_list.into_iter().flatten());
        }
        Ok(found)
    }
}

fn tag_of<'a>(mapping: &'a ResourceTagMapping, key: &str) -> Option<&'a str> {
    mapping.tags().iter().find(|tag| tag.key() == key).map(|tag| tag.value())
}
