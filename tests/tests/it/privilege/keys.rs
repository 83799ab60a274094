//! The keys of the local cloud, as KMS judges calls to them: each with its policy, tags and aliases.

use std::collections::{BTreeMap, BTreeSet};

use super::call::{ALIASES, Call};
use super::policy::{KeyStatement, is_like, key_policy};
use crate::stack::Stack;

#[derive(Default)]
pub struct Keys {
    known: BTreeMap<String, Known>,
}

struct Known {
    policy: Vec<KeyStatement>,
    /// Condition keys of the key itself.
    context: BTreeMap<String, Vec<String>>,
}

impl Keys {
    /// `None` if the resource is no existing key: then IAM alone decides.
    pub fn policy(&self, resource: &str) -> Option<&[KeyStatement]> {
        Some(&self.known.get(resource)?.policy)
    }

    /// Calls with what is known of their keys. A key that is called by its name is judged by its own policy; a name
    /// that nothing has is not judged at all.
    pub async fn of_calls(&mut self, stack: &Stack, asked: BTreeSet<Call>) -> Vec<Call> {
        let kms = aws_sdk_kms::Client::new(&stack.local.sdk_config);
        let mut calls = Vec::new();
        for mut call in asked {
            if call.resource.contains(":alias/") && call.action != "kms:CreateAlias" {
                let Ok(named) = kms.describe_key().key_id(&call.resource).send().await else { continue };
                call.resource = named.key_metadata.unwrap().arn.unwrap();
            }
            if call.resource.starts_with("arn:aws:kms:")
                && call.resource.contains(":key/")
                && !call.resource.ends_with("key/new")
            {
                call.context.extend(self.look_at(stack, &call.resource).await.clone());
            }
            calls.push(call);
        }
        calls
    }

    /// The condition keys of a key.
    pub async fn look_at(&mut self, stack: &Stack, key: &str) -> &BTreeMap<String, Vec<String>> {
        if !self.known.contains_key(key) {
            let kms = aws_sdk_kms::Client::new(&stack.local.sdk_config);
            let tags = kms.list_resource_tags().key_id(key).send().await.unwrap().tags.unwrap_or_default();
            let tags = tags.into_iter().map(|tag| (format!("aws:ResourceTag/{}", tag.tag_key), vec![tag.tag_value]));
            let mut context: BTreeMap<_, _> = tags.collect();
            let known = kms.describe_key().key_id(key).send().await.unwrap().key_metadata.unwrap();
            let usage = known.key_usage.map(|usage| vec![usage.as_str().to_owned()]);
            context.extend(usage.map(|usage| ("kms:KeyUsage".to_owned(), usage)));
            let named = kms.list_aliases().key_id(key).send().await.unwrap().aliases.unwrap_or_default();
            if !named.is_empty() {
                context.insert(ALIASES.to_owned(), named.into_iter().filter_map(|alias| alias.alias_name).collect());
            }
            self.known.insert(key.to_owned(), Known { policy: key_policy(stack, key).await, context });
        }
        &self.known[key].context
    }

    /// What the keys' own policies permit the function's role, and it never did.
    pub fn superfluous(&self, role: &str, function: &str, asked: &[&Call]) -> BTreeSet<String> {
        let direct =
            self.known.values().flat_map(|key| &key.policy).filter(|each| each.directly && !each.statement.denies);
        direct
            .filter(|each| each.statement.roles().any(|pattern| is_like(role, pattern)))
            .flat_map(|each| &each.statement.actions)
            .filter(|action| !asked.iter().any(|call| call.action == **action))
            .map(|action| format!("{function}, by a key's policy: {action} is not used"))
            .collect()
    }
}
