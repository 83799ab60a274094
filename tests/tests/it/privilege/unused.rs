//! What a role allows and the scenario does not use, each with its reason.

/// What Lambda itself does with a function's role, for its log and its queue.
pub const BY_LAMBDA: [&str; 5] =
    ["logs:CreateLogStream", "logs:PutLogEvents", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// Finding, reason.
pub const UNUSED: [(&str, &str); 0] = [];
