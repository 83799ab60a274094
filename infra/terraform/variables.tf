# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

variable "name" {
  description = "Name of the installation, with which every name begins: the stack's name in the documentation."
  type        = string
  default     = "rootcast"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,27}$", var.name))
    error_message = "name must begin with a letter, and have at most 28 letters, digits and dashes."
  }
}

variable "packages" {
  description = "Folder that `cargo lambda build --release --arm64 --output-format zip` wrote (target/lambda): NAME/bootstrap.zip for each function."
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "architecture" {
  description = "Instruction set of the functions; they must be built for it."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be one of arm64, x86_64."
  }
}

variable "endpoint_url" {
  description = "Endpoint of a local cloud that the functions use instead of AWS. Empty on AWS."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$)$", var.endpoint_url))
    error_message = "endpoint_url must match ^$|^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$"
  }
}

variable "subnet_ids" {
  description = "Private subnets from which worker and catalog connect to devices; empty for no VPC. The subnets need a route to DynamoDB, SQS, SSM, KMS and EventBridge - a NAT, or endpoints (endpoint_vpc_id). Logs do not pass through the VPC."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "security_group_ids" {
  description = "Security groups of worker and catalog in these subnets; required if subnet_ids is set."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "device_cidrs" {
  description = "Networks in which devices may be, as comma-separated CIDRs (10.20.0.0/16,fd12::/64). Empty means every public address and no private one. Link-local and metadata addresses are always refused."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^[0-9A-Fa-f.:]+/[0-9]{1,3}(,[0-9A-Fa-f.:]+/[0-9]{1,3})*$)$", var.device_cidrs))
    error_message = "device_cidrs must match ^$|^[0-9A-Fa-f.:]+/[0-9]{1,3}(,[0-9A-Fa-f.:]+/[0-9]{1,3})*$"
  }
}

variable "credential_prefix" {
  description = "Prefix of the SSM parameters with the devices' credentials (SecureString, encrypted with the account's key aws/ssm): a device's own has its id after the prefix, and one for several devices shared/NAME. The worker cannot read any other parameter."
  type        = string
  default     = "/rootcast/devices/"
  nullable    = false

  validation {
    condition     = can(regex("^(?:^/([A-Za-z0-9_.-]+/)+$)$", var.credential_prefix))
    error_message = "credential_prefix must match ^/([A-Za-z0-9_.-]+/)+$"
  }
}

variable "root_name" {
  description = "Common name of every root; the generation is appended."
  type        = string
  default     = "Rootcast Root"
  nullable    = false

  validation {
    condition     = can(regex("^(?:^[A-Za-z0-9][A-Za-z0-9 ._-]{0,47}$)$", var.root_name))
    error_message = "root_name must match ^[A-Za-z0-9][A-Za-z0-9 ._-]{0,47}$"
  }
}

variable "root_subject" {
  description = "The other parts of a root's subject (O=Example Corp,C=DE), without a common name."
  type        = string
  default     = "O=Rootcast"
  nullable    = false

  validation {
    condition     = can(regex("^(?:^(C|ST|L|O|OU)=[^,=]{1,64}(,(C|ST|L|O|OU)=[^,=]{1,64})*$)$", var.root_subject))
    error_message = "root_subject must match ^(C|ST|L|O|OU)=[^,=]{1,64}(,(C|ST|L|O|OU)=[^,=]{1,64})*$"
  }

  validation {
    condition     = length(var.root_subject) <= 256
    error_message = "root_subject must have at most 256 characters."
  }
}

variable "root_permitted_names" {
  description = "The only names that a new root may certify, as comma-separated DNS suffixes and CIDRs (lab.example.com,10.20.0.0/16,fd12::/64): name constraints in the root, which clients enforce. Empty means every name."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^[A-Za-z0-9.:/-]+(,[A-Za-z0-9.:/-]+)*$)$", var.root_permitted_names))
    error_message = "root_permitted_names must match ^$|^[A-Za-z0-9.:/-]+(,[A-Za-z0-9.:/-]+)*$"
  }

  validation {
    condition     = length(var.root_permitted_names) <= 256
    error_message = "root_permitted_names must have at most 256 characters."
  }
}

variable "root_validity_days" {
  description = "Validity of a new root, in days."
  type        = number
  default     = 3650
  nullable    = false

  validation {
    condition     = var.root_validity_days >= 30
    error_message = "root_validity_days must be at least 30."
  }

  validation {
    condition     = var.root_validity_days <= 10950
    error_message = "root_validity_days must be at most 10950."
  }
}

variable "root_backdate_minutes" {
  description = "Minutes before its creation at which a new root's validity begins, for devices whose clock is behind. A device whose clock is further behind refuses the root as not yet valid."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.root_backdate_minutes >= 0
    error_message = "root_backdate_minutes must be at least 0."
  }

  validation {
    condition     = var.root_backdate_minutes <= 10080
    error_message = "root_backdate_minutes must be at most 10080."
  }
}

variable "hold_down_hours" {
  description = "Hours between the last device's proof and a new root's first signature, in which a sample of the devices is read anew. A first root has none; each rollover can name its own."
  type        = number
  default     = 24
  nullable    = false

  validation {
    condition     = var.hold_down_hours >= 0
    error_message = "hold_down_hours must be at least 0."
  }

  validation {
    condition     = var.hold_down_hours <= 720
    error_message = "hold_down_hours must be at most 720."
  }
}

variable "rollover_until" {
  description = "The last phase of a rollover that names no other - activate leaves the old root trusted, retire goes on until no device trusts it and its key is disabled."
  type        = string
  default     = "retire"
  nullable    = false

  validation {
    condition     = contains(["publish", "distribute", "holdDown", "activate", "reissue", "distrust", "retire"], var.rollover_until)
    error_message = "rollover_until must be one of publish, distribute, holdDown, activate, reissue, distrust, retire."
  }
}

variable "root_key_sleeps" {
  description = "Whether a root's key is disabled in KMS except while it signs, so that whoever obtains a function's role meanwhile signs nothing unseen - each waking is in the audit and in CloudTrail."
  type        = bool
  default     = true
  nullable    = false
}

variable "multi_region_roots" {
  description = "Whether the keys of new roots are multi-Region primary keys, which an administrator may replicate for the loss of a region. KMS cannot change it later. A replica has its own policy and state - neither the stack nor an alarm knows it."
  type        = bool
  default     = false
  nullable    = false
}

variable "root_deletion_days" {
  description = "Days until KMS deletes the key of a root that no device trusts any more. Until then, an alarm is on, and `rootcast root keep` cancels the deletion; the key is disabled and stays so."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.root_deletion_days >= 7
    error_message = "root_deletion_days must be at least 7."
  }

  validation {
    condition     = var.root_deletion_days <= 30
    error_message = "root_deletion_days must be at most 30."
  }
}

variable "issuing_validity_days" {
  description = "Validity of a new issuing authority, in days; limited by its root's. It is replaced when half of them are over, which needs a signature of the root."
  type        = number
  default     = 730
  nullable    = false

  validation {
    condition     = var.issuing_validity_days >= 30
    error_message = "issuing_validity_days must be at least 30."
  }

  validation {
    condition     = var.issuing_validity_days <= 3650
    error_message = "issuing_validity_days must be at most 3650."
  }
}

variable "leaves_from_root" {
  description = "Whether roots sign devices' certificates themselves, for devices that cannot serve an issuing authority's certificate; the issuer may then sign with roots' keys, which must not sleep. Run `rootcast root protect-keys` after each change - existing keys keep their policy until then."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !(var.leaves_from_root) || !var.root_key_sleeps
    error_message = "leaves_from_root needs root_key_sleeps=false - a root that signs every certificate cannot sleep."
  }
}

variable "bundle_days" {
  description = "Days that the signed bundle is valid; it is signed again when half of them are over, which wakes every root's key (six times a year by default). Whoever verifies it sees after this time that it is held back. Devices whose trust store the workers keep are not affected."
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.bundle_days >= 2
    error_message = "bundle_days must be at least 2."
  }

  validation {
    condition     = var.bundle_days <= 365
    error_message = "bundle_days must be at most 365."
  }
}

variable "device_certificate_days" {
  description = "Validity of a device's own certificate, in days; limited by its root's."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.device_certificate_days >= 1
    error_message = "device_certificate_days must be at least 1."
  }

  validation {
    condition     = var.device_certificate_days <= 3650
    error_message = "device_certificate_days must be at most 3650."
  }
}

variable "renew_at_percent_left" {
  description = "What is left of the life of a device's own certificate when it is renewed by itself, in percent; each device has its own moment in the third of that rest that follows. 0 renews nothing by itself. A certificate keeps the moment that it was issued with."
  type        = number
  default     = 33
  nullable    = false

  validation {
    condition     = var.renew_at_percent_left >= 0
    error_message = "renew_at_percent_left must be at least 0."
  }

  validation {
    condition     = var.renew_at_percent_left <= 90
    error_message = "renew_at_percent_left must be at most 90."
  }
}

variable "renewals_an_hour" {
  description = "Most renewals that begin by themselves in one hour, however many certificates are due."
  type        = number
  default     = 5000
  nullable    = false

  validation {
    condition     = var.renewals_an_hour >= 16
    error_message = "renewals_an_hour must be at least 16."
  }

  validation {
    condition     = var.renewals_an_hour <= 20000
    error_message = "renewals_an_hour must be at most 20000."
  }
}

variable "revoke_superseded" {
  description = "Whether a device's certificate is revoked (as superseded) once its renewal is proven at the device."
  type        = bool
  default     = true
  nullable    = false
}

variable "crl_base_url" {
  description = "Base URL of the revocation lists in certificates (/crl/SIGNER/SHARD.crl is appended); it must lead to the API. Empty means the API's own address, which is https only. Your own domain name outlives the API, and every verifier can read lists over http."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$)$", var.crl_base_url))
    error_message = "crl_base_url must match ^$|^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$"
  }

  validation {
    condition     = length(var.crl_base_url) <= 160
    error_message = "crl_base_url must have at most 160 characters."
  }
}

variable "device_timeout_seconds" {
  description = "Time limit for work on one device, in seconds. Less than worker_timeout_seconds; real hardware takes 10 to 30 s for an install."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.device_timeout_seconds >= 1
    error_message = "device_timeout_seconds must be at least 1."
  }

  validation {
    condition     = var.device_timeout_seconds <= 840
    error_message = "device_timeout_seconds must be at most 840."
  }
}

variable "worker_timeout_seconds" {
  description = "Timeout of a worker, in seconds. More than device_timeout_seconds, so that a slow device's failure can be recorded. What is left is the time in which a worker takes more devices in place of those that have ended, while one hangs."
  type        = number
  default     = 600
  nullable    = false

  validation {
    condition     = var.worker_timeout_seconds >= 3
    error_message = "worker_timeout_seconds must be at least 3."
  }

  validation {
    condition     = var.worker_timeout_seconds <= 900
    error_message = "worker_timeout_seconds must be at most 900."
  }
}

variable "issue_timeout_seconds" {
  description = "Timeout of an issuer, in seconds. The old roots stay in use for that long after another one signs."
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.issue_timeout_seconds >= 3
    error_message = "issue_timeout_seconds must be at least 3."
  }

  validation {
    condition     = var.issue_timeout_seconds <= 900
    error_message = "issue_timeout_seconds must be at most 900."
  }
}

variable "task_visibility_seconds" {
  description = "Seconds until the task of a worker or issuer that died is delivered again. Not less than worker_timeout_seconds and issue_timeout_seconds (AWS refuses that), or two would process one task."
  type        = number
  default     = 600
  nullable    = false

  validation {
    condition     = var.task_visibility_seconds >= 3
    error_message = "task_visibility_seconds must be at least 3."
  }

  validation {
    condition     = var.task_visibility_seconds <= 43200
    error_message = "task_visibility_seconds must be at most 43200."
  }
}

variable "retry_base_seconds" {
  description = "Delay before the first retry of a failed task, in seconds; it doubles with each attempt."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.retry_base_seconds >= 1
    error_message = "retry_base_seconds must be at least 1."
  }

  validation {
    condition     = var.retry_base_seconds <= 900
    error_message = "retry_base_seconds must be at most 900."
  }
}

variable "max_tries" {
  description = "Failed visits to a device per attempt at its task; after the last one the task is recorded as failed."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.max_tries >= 1
    error_message = "max_tries must be at least 1."
  }

  validation {
    condition     = var.max_tries <= 8
    error_message = "max_tries must be at most 8."
  }
}

variable "stall_seconds" {
  description = "Seconds without progress in an open wave after which the conductor resends its unanswered tasks."
  type        = number
  default     = 900
  nullable    = false

  validation {
    condition     = var.stall_seconds >= 10
    error_message = "stall_seconds must be at least 10."
  }

  validation {
    condition     = var.stall_seconds <= 86400
    error_message = "stall_seconds must be at most 86400."
  }
}

variable "maximum_concurrency" {
  description = "Maximum number of concurrent workers, with ten devices each. Up to twenty messages of each are in flight, and devices that wait for their next try are, too; SQS takes 120 000 of a queue."
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.maximum_concurrency >= 2
    error_message = "maximum_concurrency must be at least 2."
  }

  validation {
    condition     = var.maximum_concurrency <= 1000
    error_message = "maximum_concurrency must be at most 1000."
  }
}

variable "prices" {
  description = "AWS's prices, by which jobs and estimates are told in dollars - the content of functions/shared/core/src/prices.json with the prices of this region, in one line. Empty, the list prices of us-east-1."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^(\\{.*\\})?$)$", var.prices))
    error_message = "prices must match ^(\\{.*\\})?$"
  }
}

variable "event_bus_name" {
  description = "EventBridge bus for the events about certificates, jobs, authorities and devices."
  type        = string
  default     = "default"
  nullable    = false

  validation {
    condition     = can(regex("^(?:^[A-Za-z0-9._/-]{1,256}$)$", var.event_bus_name))
    error_message = "event_bus_name must match ^[A-Za-z0-9._/-]{1,256}$"
  }
}

variable "requester_arns" {
  description = "Who may put requests (Rotate Root, Root Compromised, Device Certificate Renewal Requested) on the stack's bus for them - ARNs of roles or users, with * for any part (arn:aws:iam::111122223333:role/ops/rotation). They need events:PutEvents there as well. Empty means nobody."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "session_idle_minutes" {
  description = "Minutes without a request after which a password login's session expires (precision - one minute). Every session ends twelve hours after its login."
  type        = number
  default     = 720
  nullable    = false

  validation {
    condition     = var.session_idle_minutes >= 5
    error_message = "session_idle_minutes must be at least 5."
  }

  validation {
    condition     = var.session_idle_minutes <= 1440
    error_message = "session_idle_minutes must be at most 1440."
  }
}

variable "oidc_issuer" {
  description = "OpenID Connect provider (claim `iss`) whose tokens POST /sessions/oidc accepts; API Gateway only accepts https. Without it or oidc_audience, this path does not exist."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$)$", var.oidc_issuer))
    error_message = "oidc_issuer must match ^$|^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$"
  }

  validation {
    condition     = length(var.oidc_issuer) <= 512
    error_message = "oidc_issuer must have at most 512 characters."
  }
}

variable "oidc_audience" {
  description = "Accepted values of these tokens' claim `aud`; one match suffices."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "oidc_client_id" {
  description = "Client of the page at oidc_issuer, with which people sign in there (authorization code flow with PKCE; a public client, redirected to https://API/console/oidc/callback). One of oidc_audience. Empty, people sign in with passwords."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^[\\x21-\\x7e]{0,255}$)$", var.oidc_client_id))
    error_message = "oidc_client_id must match ^[\\x21-\\x7e]{0,255}$"
  }

  validation {
    condition     = !(var.oidc_client_id != "") || var.oidc_issuer != ""
    error_message = "oidc_client_id needs oidc_issuer - the provider at which people sign in."
  }

  validation {
    condition     = !(var.oidc_client_id != "") || contains(var.oidc_audience, var.oidc_client_id)
    error_message = "oidc_client_id has to be one of oidc_audience - the provider's tokens are made out to it."
  }

  validation {
    condition     = !(var.oidc_client_id != "") || var.api_truststore_uri == ""
    error_message = "oidc_client_id excludes api_truststore_uri - the page has no certificate with which to hand the provider's token to the API."
  }
}

variable "two_persons" {
  description = "Operations that one person alone cannot carry out, separated by commas: regenerate, approve-device, activate, abort, export-key, administer-access. Empty for none. If there is one, administer-access has to be among them. The functions refuse any other list."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^((regenerate|approve-device|activate|abort|export-key),)*administer-access(,(regenerate|approve-device|activate|abort|export-key))*$)$", var.two_persons))
    error_message = "two_persons must match ^$|^((regenerate|approve-device|activate|abort|export-key),)*administer-access(,(regenerate|approve-device|activate|abort|export-key))*$"
  }
}

variable "log_retention_days" {
  description = "Retention of logs, in days."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "audit_bucket" {
  description = "Bucket to which the signed statements of the audit's heads are copied; empty for none. Whoever audits creates it in this region, best in an account of their own, with object lock and a default retention, which decides how long nobody can delete a copy."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$)$", var.audit_bucket))
    error_message = "audit_bucket must match ^$|^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"
  }
}

variable "alarm_topic_arn" {
  description = "SNS topic for alarms; empty for alarms that are only shown in CloudWatch, or for own_alarm_topic."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$)$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must match ^$|^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$"
  }
}

variable "own_alarm_topic" {
  description = "Whether the stack makes an SNS topic for its alarms; instead of alarm_topic_arn."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !(var.own_alarm_topic) || var.alarm_topic_arn == ""
    error_message = "own_alarm_topic=true and alarm_topic_arn exclude each other."
  }
}

variable "alarm_email" {
  description = "Address that own_alarm_topic writes to, once its owner has confirmed that; empty for no subscription."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^[^@ ]+@[A-Za-z0-9.-]+$)$", var.alarm_email))
    error_message = "alarm_email must match ^$|^[^@ ]+@[A-Za-z0-9.-]+$"
  }

  validation {
    condition     = !(var.alarm_email != "") || var.own_alarm_topic
    error_message = "alarm_email needs own_alarm_topic=true - the stack subscribes an address to no topic but its own."
  }
}

variable "dashboard" {
  description = "Whether the stack has a CloudWatch dashboard ($3 a month beyond an account's first three)."
  type        = bool
  default     = false
  nullable    = false
}

variable "tracing" {
  description = "Active records traces in X-Ray, from an API's call or a schedule through the queues to the last device. PassThrough, Lambda's own default, records those that somebody else has begun."
  type        = string
  default     = "PassThrough"
  nullable    = false

  validation {
    condition     = contains(["PassThrough", "Active"], var.tracing)
    error_message = "tracing must be one of PassThrough, Active."
  }
}

variable "api_reserved_concurrency" {
  description = "Concurrent executions that are reserved for each of the five functions behind the API, so that neither the workers nor others of the account starve it; no function gets more than that either. 0 reserves nothing. Lambda keeps 100 of the account's quota unreserved."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.api_reserved_concurrency >= 0
    error_message = "api_reserved_concurrency must be at least 0."
  }

  validation {
    condition     = var.api_reserved_concurrency <= 1000
    error_message = "api_reserved_concurrency must be at most 1000."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of every role that the stack makes; empty for none."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[A-Za-z0-9/+=,.@_-]+$)$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must match ^$|^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[A-Za-z0-9/+=,.@_-]+$"
  }
}

variable "signing_profile_version_arns" {
  description = "Versions of AWS Signer profiles (arn:aws:signer:REGION:ACCOUNT:/signing-profiles/NAME/VERSION), separated by commas. If there is one, Lambda refuses code that none of them signed."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^arn:[a-z-]+:signer:[a-z0-9-]+:[0-9]{12}:/signing-profiles/[A-Za-z0-9_]+/[A-Za-z0-9]{10}(,arn:[a-z-]+:signer:[a-z0-9-]+:[0-9]{12}:/signing-profiles/[A-Za-z0-9_]+/[A-Za-z0-9]{10})*$)$", var.signing_profile_version_arns))
    error_message = "signing_profile_version_arns must match ^$|^arn:[a-z-]+:signer:[a-z0-9-]+:[0-9]{12}:/signing-profiles/[A-Za-z0-9_]+/[A-Za-z0-9]{10}(,arn:[a-z-]+:signer:[a-z0-9-]+:[0-9]{12}:/signing-profiles/[A-Za-z0-9_]+/[A-Za-z0-9]{10})*$"
  }
}

variable "customer_keys" {
  description = "Whether tables and logs are encrypted with two keys of the stack ($1 a month each) instead of with those of AWS. Whoever disables the first one stops everything. Back from true only while both keys exist."
  type        = bool
  default     = false
  nullable    = false
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables. A first deployment that fails leaves no tables behind if it is false."
  type        = bool
  default     = true
  nullable    = false
}

variable "backup_days" {
  description = "Days for which daily backups of the tables are kept in a vault of AWS Backup; 0 for none. Point-in-time recovery (35 days) is always on."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.backup_days >= 0
    error_message = "backup_days must be at least 0."
  }

  validation {
    condition     = var.backup_days <= 3650
    error_message = "backup_days must be at most 3650."
  }
}

variable "ipv6" {
  description = "Whether worker and catalog also speak IPv6 in the VPC; every subnet needs an IPv6 range."
  type        = bool
  default     = false
  nullable    = false
}

variable "endpoint_vpc_id" {
  description = "VPC of subnet_ids, for the endpoints of DynamoDB, SQS, KMS, SSM and EventBridge to be made there; empty if they exist, or if there is a NAT. They answer for these services in all of the VPC, and let no request out to another account's resources."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^vpc-[0-9a-f]{8,17}$)$", var.endpoint_vpc_id))
    error_message = "endpoint_vpc_id must match ^$|^vpc-[0-9a-f]{8,17}$"
  }

  validation {
    condition     = !(var.endpoint_vpc_id != "") || var.endpoint_route_table_ids != ""
    error_message = "endpoint_vpc_id needs endpoint_route_table_ids - the route tables of subnet_ids."
  }
}

variable "endpoint_route_table_ids" {
  description = "Route tables of subnet_ids, separated by commas, which get the route to DynamoDB; required if endpoint_vpc_id is set."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^rtb-[0-9a-f]{8,17}(,rtb-[0-9a-f]{8,17})*$)$", var.endpoint_route_table_ids))
    error_message = "endpoint_route_table_ids must match ^$|^rtb-[0-9a-f]{8,17}(,rtb-[0-9a-f]{8,17})*$"
  }
}

variable "public_edge" {
  description = "Whether a CloudFront distribution serves what is public (revocation lists, also over http; the bundle; EST's cacerts) from its cache. Without crl_base_url, new certificates then name it. It refuses every other path."
  type        = bool
  default     = false
  nullable    = false
}

variable "public_edge_domain_name" {
  description = "Domain name of public_edge; its record is made by you, and leads to the output PublicEdgeTarget. Empty for CloudFront's own name."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$)$", var.public_edge_domain_name))
    error_message = "public_edge_domain_name must match ^$|^[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$"
  }

  validation {
    condition     = !(var.public_edge_domain_name != "") || var.public_edge
    error_message = "public_edge_domain_name needs public_edge=true."
  }

  validation {
    condition     = !(var.public_edge_domain_name != "") || var.public_edge_certificate_arn != ""
    error_message = "public_edge_domain_name needs public_edge_certificate_arn - its certificate in us-east-1."
  }
}

variable "public_edge_certificate_arn" {
  description = "Certificate of public_edge_domain_name, which CloudFront wants in us-east-1."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^arn:[a-z-]+:acm:us-east-1:[0-9]{12}:certificate/[0-9a-f-]+$)$", var.public_edge_certificate_arn))
    error_message = "public_edge_certificate_arn must match ^$|^arn:[a-z-]+:acm:us-east-1:[0-9]{12}:certificate/[0-9a-f-]+$"
  }
}

variable "public_edge_web_acl_arn" {
  description = "Web ACL of AWS WAF before public_edge, for limits by client; empty for none."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^arn:[a-z-]+:wafv2:us-east-1:[0-9]{12}:global/webacl/[A-Za-z0-9_-]+/[0-9a-f-]+$)$", var.public_edge_web_acl_arn))
    error_message = "public_edge_web_acl_arn must match ^$|^arn:[a-z-]+:wafv2:us-east-1:[0-9]{12}:global/webacl/[A-Za-z0-9_-]+/[0-9a-f-]+$"
  }
}

variable "api_domain_name" {
  description = "Domain name of the API; its record is made by you, and leads to the output ApiDomainTarget. Empty for API Gateway's own name alone."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$)$", var.api_domain_name))
    error_message = "api_domain_name must match ^$|^[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$"
  }

  validation {
    condition     = !(var.api_domain_name != "") || var.api_certificate_arn != ""
    error_message = "api_domain_name needs api_certificate_arn - its certificate in this region."
  }
}

variable "api_certificate_arn" {
  description = "Certificate of api_domain_name, in this region."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]+$)$", var.api_certificate_arn))
    error_message = "api_certificate_arn must match ^$|^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]+$"
  }
}

variable "api_truststore_uri" {
  description = "PEM file in S3 (s3://BUCKET/KEY) with the authorities of client certificates. If there is one, api_domain_name asks every client for a certificate, and the API has no other address."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(?:^$|^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^ ]+$)$", var.api_truststore_uri))
    error_message = "api_truststore_uri must match ^$|^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^ ]+$"
  }

  validation {
    condition     = !(var.api_truststore_uri != "") || var.api_domain_name != ""
    error_message = "api_truststore_uri needs api_domain_name - API Gateway's own address asks for no certificate, and is closed."
  }

  validation {
    condition     = !(var.api_truststore_uri != "") || !var.public_edge
    error_message = "api_truststore_uri excludes public_edge - CloudFront would have no way to the API."
  }

  validation {
    condition     = !(var.api_truststore_uri != "") || var.crl_base_url != ""
    error_message = "api_truststore_uri needs crl_base_url - an address from which verifiers get revocation lists without a certificate."
  }
}
