//! Permissions that the scenario does not use, each with its reason.

/// Lambda's own use of a function's role, for its log and its queue.
pub const BY_LAMBDA: [&str; 5] =
    ["logs:CreateLogStream", "logs:PutLogEvents", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// The statement with which Lambda puts an event that was not carried out into the dead-letter queue.
pub const UNDONE: &str = "Undone";

/// Permission, reason.
pub const UNUSED: [(&str, &str); 12] = [
    ("ConductFunction, by a key's policy: kms:CancelKeyDeletion is not used", RETIRED),
    ("ConductFunction, by a key's policy: kms:DescribeKey is not used", NAMED),
    ("IssueFunction Consume: arn:aws:sqs:us-east-1:000000000000:rootcast-issue is not used", LATER),
    ("IssueFunction Consume: sqs:ChangeMessageVisibility is not used", LATER),
    ("IssueFunction Consume: sqs:SendMessage is not used", "a message that came back often is replaced by a new one"),
    ("IssueFunction Revoked: ended is not used", INTERRUPTED),
    ("IssueFunction Store: dynamodb:DeleteItem is not used", EARLIER),
    ("IssueFunction Store: leaf#* is not used", EARLIER),
    ("LoginFunction Give: cursors is not used", "the list of principals has a second page where the table has 1 MB"),
    ("RegenerateFunction, by a key's policy: kms:DescribeKey is not used", NAMED),
    (
        "WorkerFunction Consume: sqs:SendMessage is not used",
        "a device that answers 202 is asked again by a later message",
    ),
    (
        "WorkerFunction Devices: dynamodb:GetItem is not used",
        "says whether a device that refused its lease is still there",
    ),
];

const NAMED: &str = "tells whose a name is that is taken, of a key whose root is activated a second time";
const RETIRED: &str = "a root is retired twenty minutes after the next one signs, and then somebody may keep its key";
const LATER: &str = "what KMS or DynamoDB is too busy for is tried again later";
const INTERRUPTED: &str = "what was deleted is revoked by the function that deletes it, unless that is interrupted";
const EARLIER: &str =
    "an earlier release counted the leaves of devices' certificates, and those counters end with the next renewal";
