# An installation for production: in subnets that exist, two persons for what is dangerous, logins by the company's OpenID Connect
# provider, alarms by mail, statements of the audit copied to the auditors' account. Keep the state in a bucket with versions:
# it has no secrets, but whoever loses it has to import every resource again.

variable "subnet_ids" {
  description = "Private subnets with a route to the devices and to AWS."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of the functions in these subnets."
  type        = list(string)
}

variable "alarm_address" {
  description = "E-mail address that receives the alarms."
  type        = string
}

variable "audit_bucket" {
  description = "The auditors' bucket, with object lock and a default retention."
  type        = string
}

resource "aws_sns_topic" "alarms" {
  name              = "rootcast-alarms"
  kms_master_key_id = aws_kms_alias.alarms.name
}

# CloudWatch cannot use the AWS managed key of SNS.
resource "aws_kms_key" "alarms" {
  description         = "Alarms of Rootcast"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.alarms.json
}

resource "aws_kms_alias" "alarms" {
  name          = "alias/rootcast-alarms"
  target_key_id = aws_kms_key.alarms.key_id
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_iam_policy_document" "alarms" {
  statement {
    sid       = "Administer"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sns_topic_subscription" "alarms" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_address
}

module "rootcast" {
  source   = "../.."
  name     = "rootcast-production"
  packages = "${path.module}/../../../../target/lambda"

  root_name            = "Example Device Root"
  root_subject         = "O=Example Corp,C=DE"
  root_permitted_names = "devices.example.com,10.64.0.0/12"
  crl_base_url         = "http://pki.example.com"

  subnet_ids         = var.subnet_ids
  security_group_ids = var.security_group_ids
  device_cidrs       = "10.64.0.0/12"

  oidc_issuer   = "https://login.example.com"
  oidc_audience = ["rootcast"]
  two_persons   = "regenerate,abort,export-key,administer-access"

  hold_down_hours    = 72
  log_retention_days = 365
  audit_bucket       = var.audit_bucket
  alarm_topic_arn    = aws_sns_topic.alarms.arn

  tags = {
    Service = "device-pki"
    Owner   = "security"
  }
}

output "api_url" {
  value = module.rootcast.api_url
}
