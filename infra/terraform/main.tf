# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id
  url_suffix = data.aws_partition.current.dns_suffix
}

# Conditions of template.yaml.
locals {
  has_audit_bucket        = var.audit_bucket != ""
  has_endpoint            = var.endpoint_url != ""
  has_crl_base            = var.crl_base_url != ""
  has_oidc                = var.oidc_issuer != "" && length(var.oidc_audience) != 0
  has_sign_in             = local.has_oidc && var.oidc_client_id != ""
  has_requesters          = length(var.requester_arns) != 0
  has_topic               = var.alarm_topic_arn != ""
  has_own_topic           = var.own_alarm_topic
  has_alarm_email         = local.has_own_topic && var.alarm_email != ""
  has_dashboard           = var.dashboard
  has_traces              = var.tracing == "Active"
  reserves_concurrency    = var.api_reserved_concurrency != 0
  has_boundary            = var.permissions_boundary_arn != ""
  has_signers             = var.signing_profile_version_arns != ""
  has_customer_keys       = var.customer_keys
  is_protected            = var.deletion_protection
  has_backups             = var.backup_days != 0
  has_endpoints           = local.in_vpc && var.endpoint_vpc_id != ""
  has_ipv6                = var.ipv6
  has_edge                = var.public_edge
  has_edge_name           = var.public_edge_domain_name != "" && var.public_edge_certificate_arn != ""
  has_edge_acl            = var.public_edge_web_acl_arn != ""
  has_api_name            = var.api_domain_name != "" && var.api_certificate_arn != ""
  has_client_certificates = var.api_truststore_uri != ""
  in_vpc                  = length(var.subnet_ids) != 0
}
