# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_dynamodb_table" "certificates" {
  name                        = "${var.name}-certificates"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = local.is_protected ? true : false
  tags                        = var.tags

  attribute {
    name = "id"
    type = "S"
  }

  attribute {
    name = "shard"
    type = "N"
  }

  attribute {
    name = "notAfter"
    type = "N"
  }

  attribute {
    name = "updated"
    type = "N"
  }

  attribute {
    name = "renewAt"
    type = "N"
  }

  attribute {
    name = "thumbprint"
    type = "S"
  }

  attribute {
    name = "generation"
    type = "N"
  }

  attribute {
    name = "at"
    type = "N"
  }

  attribute {
    name = "tree"
    type = "S"
  }

  global_secondary_index {
    name            = "by-expiry"
    hash_key        = "shard"
    range_key       = "notAfter"
    projection_type = "INCLUDE"
    non_key_attributes = [
      "folder",
      "name",
      "keyAlgorithm",
      "signatureAlgorithm",
      "commonName",
      "names",
      "notBefore",
      "enterpriseProjectId",
      "uses",
      "updated",
      "noticed",
      "revoked",
    ]
  }

  global_secondary_index {
    name            = "by-update"
    hash_key        = "shard"
    range_key       = "updated"
    projection_type = "INCLUDE"
    non_key_attributes = [
      "folder",
      "name",
      "keyAlgorithm",
      "signatureAlgorithm",
      "commonName",
      "names",
      "notBefore",
      "enterpriseProjectId",
      "uses",
      "notAfter",
      "revoked",
    ]
  }

  global_secondary_index {
    name            = "by-renewal"
    hash_key        = "shard"
    range_key       = "renewAt"
    projection_type = "KEYS_ONLY"
  }

  global_secondary_index {
    name            = "by-thumbprint"
    hash_key        = "thumbprint"
    projection_type = "KEYS_ONLY"
  }

  global_secondary_index {
    name               = "signed"
    hash_key           = "generation"
    range_key          = "at"
    projection_type    = "INCLUDE"
    non_key_attributes = ["certificate", "device", "issuing", "leaf", "thumbprint", "subject", "notAfter"]
  }

  global_secondary_index {
    name               = "by-name"
    hash_key           = "tree"
    range_key          = "id"
    projection_type    = "INCLUDE"
    non_key_attributes = ["certificate"]
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.has_customer_keys ? aws_kms_key.tables_key[0].arn : null
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_dynamodb_table" "jobs" {
  name                        = "${var.name}-jobs"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = local.is_protected ? true : false
  tags                        = var.tags

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  attribute {
    name = "openShard"
    type = "N"
  }

  global_secondary_index {
    name               = "unfinished"
    hash_key           = "openShard"
    projection_type    = "INCLUDE"
    non_key_attributes = ["certificate", "device", "job", "revision", "lifecycle", "at"]
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.has_customer_keys ? aws_kms_key.tables_key[0].arn : null
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_dynamodb_table" "devices" {
  name                        = "${var.name}-devices"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = local.is_protected ? true : false
  tags                        = var.tags

  attribute {
    name = "id"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.has_customer_keys ? aws_kms_key.tables_key[0].arn : null
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_dynamodb_table" "access" {
  name                        = "${var.name}-access"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = local.is_protected ? true : false
  tags                        = var.tags

  attribute {
    name = "id"
    type = "S"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.has_customer_keys ? aws_kms_key.tables_key[0].arn : null
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_dynamodb_table" "audit" {
  name                        = "${var.name}-audit"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = local.is_protected ? true : false
  tags                        = var.tags

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  attribute {
    name = "shard"
    type = "N"
  }

  attribute {
    name = "changed"
    type = "N"
  }

  global_secondary_index {
    name               = "by-change"
    hash_key           = "shard"
    range_key          = "changed"
    projection_type    = "INCLUDE"
    non_key_attributes = ["hash", "sequence"]
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.has_customer_keys ? aws_kms_key.tables_key[0].arn : null
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_dynamodb_table" "heads" {
  name                        = "${var.name}-heads"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = local.is_protected ? true : false
  tags                        = var.tags

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.has_customer_keys ? aws_kms_key.tables_key[0].arn : null
  }

  lifecycle {
    prevent_destroy = true
  }
}
