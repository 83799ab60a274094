# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_vpc_endpoint" "tables_endpoint" {
  count             = local.has_endpoints ? 1 : 0
  vpc_id            = var.endpoint_vpc_id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${local.region}.dynamodb"
  route_table_ids   = split(",", var.endpoint_route_table_ids)
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "WithinTheAccount"
        Effect    = "Allow"
        Principal = "*"
        Action    = "*"
        Resource  = "*"
        Condition = {
          StringEquals = {
            "aws:PrincipalAccount" = local.account_id
            "aws:ResourceAccount"  = local.account_id
          }
        }
      },
    ]
  })
  tags = var.tags
}

resource "aws_security_group" "endpoint_group" {
  count       = local.has_endpoints ? 1 : 0
  name        = "${var.name}-endpoint-group"
  description = "Endpoints that worker and catalog of Rootcast stack ${var.name} call"
  vpc_id      = var.endpoint_vpc_id
  tags        = var.tags

  ingress {
    description     = "From the first group of the functions"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    security_groups = [var.security_group_ids[0]]
  }

  egress {
    description = "Endpoints begin no connection"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["127.0.0.1/32"]
  }
}

resource "aws_vpc_endpoint" "queues_endpoint" {
  count               = local.has_endpoints ? 1 : 0
  vpc_id              = var.endpoint_vpc_id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${local.region}.sqs"
  private_dns_enabled = true
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "WithinTheAccount"
        Effect    = "Allow"
        Principal = "*"
        Action    = "*"
        Resource  = "*"
        Condition = {
          StringEquals = {
            "aws:PrincipalAccount" = local.account_id
            "aws:ResourceAccount"  = local.account_id
          }
        }
      },
    ]
  })
  tags = var.tags
}

resource "aws_vpc_endpoint" "keys_endpoint" {
  count               = local.has_endpoints ? 1 : 0
  vpc_id              = var.endpoint_vpc_id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${local.region}.kms"
  private_dns_enabled = true
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "WithinTheAccount"
        Effect    = "Allow"
        Principal = "*"
        Action    = "*"
        Resource  = "*"
        Condition = {
          StringEquals = {
            "aws:PrincipalAccount" = local.account_id
            "aws:ResourceAccount"  = local.account_id
          }
        }
      },
    ]
  })
  tags = var.tags
}

resource "aws_vpc_endpoint" "credentials_endpoint" {
  count               = local.has_endpoints ? 1 : 0
  vpc_id              = var.endpoint_vpc_id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${local.region}.ssm"
  private_dns_enabled = true
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "WithinTheAccount"
        Effect    = "Allow"
        Principal = "*"
        Action    = "*"
        Resource  = "*"
        Condition = {
          StringEquals = {
            "aws:PrincipalAccount" = local.account_id
            "aws:ResourceAccount"  = local.account_id
          }
        }
      },
    ]
  })
  tags = var.tags
}

resource "aws_vpc_endpoint" "events_endpoint" {
  count               = local.has_endpoints ? 1 : 0
  vpc_id              = var.endpoint_vpc_id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${local.region}.events"
  private_dns_enabled = true
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "WithinTheAccount"
        Effect    = "Allow"
        Principal = "*"
        Action    = "*"
        Resource  = "*"
        Condition = {
          StringEquals = {
            "aws:PrincipalAccount" = local.account_id
            "aws:ResourceAccount"  = local.account_id
          }
        }
      },
    ]
  })
  tags = var.tags
}
