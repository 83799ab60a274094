//! What a second person sees of a request's body: nothing that may be a secret.

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// In bytes, of the members as JSON: a thousand devices with the longest ids.
const LARGEST: usize = 80 << 10;
/// Names of members that are left out, and characters of each.
const MOST_NAMES: usize = 20;
const LONGEST_NAME: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownBody {
    pub sha256: Fingerprint,
    pub bytes: u64,
    /// The members that may be seen, as JSON. `None` if the body cannot be shown: it is no JSON object, or too large. It
    /// is never shown in part, so that nothing is hidden behind what is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
    /// Names of the members that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// The stored rollout that the call names, as JSON, as it was then. If another one has taken its place, or it is gone, the
    /// call is another call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

impl ShownBody {
    /// `shown`: the members that are no secret in this call.
    pub fn of(body: &[u8], shown: &[&str]) -> Self {
        let whole = Self {
            sha256: Fingerprint::of(body),
            bytes: body.len() as u64,
            members: None,
            left_out: Vec::new(),
            rollout: None,
        };
        if body.is_empty() {
            return Self { members: Some("{}".to_owned()), ..whole };
        }
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(body) else { return whole };
        let (seen, hidden): (Map<_, _>, Map<_, _>) =
            object.into_iter().partition(|(name, _)| shown.contains(&name.as_str()));
        let cut = |name: String| name.chars().take(LONGEST_NAME).collect();
        let left_out = hidden.into_iter().take(MOST_NAMES).map(|(name, _)| cut(name)).collect();
        let members = Some(Value::Object(seen).to_string()).filter(|text| text.len() <= LARGEST);
        Self { members, left_out, ..whole }
    }
}
