//! The same decisions by an engine of others: `iam-rs` reads the deployed documents as they are and evaluates each statement.
//! Only how IAM and a key's policy go together is said here.
//!
//! Source: <https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html>.

use iam_rs::{
    Arn, Context, ContextValue, Decision, IAMPolicy, IAMRequest, PolicyEvaluator, Principal as Caller, PrincipalId,
};
use serde_json::{Value, json};

use super::call::Call;
use super::policy::{ACCOUNT, Allowed, KeyStatement, PRINCIPAL};

/// As [`Allowed::permits`].
pub fn permits(role: &Allowed, call: &Call, key: Option<&[KeyStatement]>) -> bool {
    let theirs = role.statements.iter().filter(|each| each.function == call.function);
    let by_iam = decided(theirs.map(|each| &each.document), &role.role, call);
    let Some(key) = key else { return by_iam == Decision::Allow };
    let mut call = call.clone();
    call.context.insert(PRINCIPAL.to_owned(), vec![role.role.clone()]);
    call.context.insert("kms:CallerAccount".to_owned(), vec![ACCOUNT.to_owned()]);
    let by_key = |caller: &str| decided(key.iter().map(|each| &each.statement.document), caller, &call);
    // A statement for the account leaves the decision to IAM; one for everybody is a decision.
    let (directly, for_account) = (by_key(&role.role), by_key(&format!("arn:aws:iam::{ACCOUNT}:root")));
    let denied = [by_iam, directly, for_account].contains(&Decision::Deny);
    !denied && (directly == Decision::Allow || (by_iam == Decision::Allow && for_account == Decision::Allow))
}

fn decided<'a>(statements: impl Iterator<Item = &'a Value>, caller: &str, call: &Call) -> Decision {
    let document = json!({ "Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>() });
    let policy: IAMPolicy = serde_json::from_value(document).unwrap();
    // What has no resource is allowed by a statement for all of them only.
    let resource = if call.resource == "*" { "arn:aws:none:us-east-1:000000000000:none" } else { &call.resource };
    let Ok(resource) = Arn::parse(resource) else { return Decision::NotApplicable };
    let mut context = Context::new();
    for (key, values) in &call.context {
        let value = match values.as_slice() {
            // A condition key of IAM's type Boolean.
            [one] if key == "kms:MultiRegion" => ContextValue::Boolean(one == "true"),
            [one] => ContextValue::String(one.clone()),
            several => ContextValue::StringList(several.to_vec()),
        };
        context.data.insert(key.clone(), value);
    }
    let caller = Caller::Aws(PrincipalId::String(caller.to_owned()));
    let request = IAMRequest::new_with_context(caller, call.action.clone(), resource, context);
    PolicyEvaluator::with_policies(vec![policy]).evaluate(&request).unwrap().decision
}
