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
  has_audit_bucket = var.audit_bucket != ""
  has_endpoint     = var.endpoint_url != ""
  has_crl_base     = var.crl_base_url != ""
  has_oidc         = var.oidc_issuer != "" && length(var.oidc_audience) != 0
  has_requesters   = length(var.requester_arns) != 0
  has_topic        = var.alarm_topic_arn != ""
  in_vpc           = length(var.subnet_ids) != 0
}
