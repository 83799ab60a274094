# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_iam_role" "backup_service" {
  count                = local.has_backups ? 1 : 0
  name                 = "${var.name}-${local.region}-backup-service"
  path                 = "/rootcast/${local.region}/${var.name}/backup/"
  description          = "Permissions of AWS Backup - back the stack's tables up. It restores nothing"
  permissions_boundary = local.has_boundary ? var.permissions_boundary_arn : null
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "backup.amazonaws.com"
        }
        Action = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = local.account_id
          }
        }
      },
    ]
  })
  tags = var.tags
}

resource "aws_iam_role_policy" "backup_service" {
  count = local.has_backups ? 1 : 0
  role  = aws_iam_role.backup_service[0].name
  name  = "backup"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Tables"
        Effect = "Allow"
        Action = [
          "dynamodb:CreateBackup",
          "dynamodb:DescribeTable",
          "dynamodb:ListTagsOfResource",
          "dynamodb:StartAwsBackupJob",
        ]
        Resource = [
          aws_dynamodb_table.certificates.arn,
          aws_dynamodb_table.jobs.arn,
          aws_dynamodb_table.devices.arn,
          aws_dynamodb_table.access.arn,
          aws_dynamodb_table.audit.arn,
          aws_dynamodb_table.heads.arn,
        ]
      },
      {
        Sid    = "Copies"
        Effect = "Allow"
        Action = ["dynamodb:DeleteBackup", "dynamodb:DescribeBackup"]
        Resource = [
          "${aws_dynamodb_table.certificates.arn}/backup/*",
          "${aws_dynamodb_table.jobs.arn}/backup/*",
          "${aws_dynamodb_table.devices.arn}/backup/*",
          "${aws_dynamodb_table.access.arn}/backup/*",
          "${aws_dynamodb_table.audit.arn}/backup/*",
          "${aws_dynamodb_table.heads.arn}/backup/*",
        ]
      },
      {
        Sid      = "Vault"
        Effect   = "Allow"
        Action   = ["backup:CopyIntoBackupVault", "backup:DescribeBackupVault"]
        Resource = aws_backup_vault.backup_vault[0].arn
      },
    ]
  })
}

resource "aws_iam_policy" "audit_copies" {
  count       = local.has_audit_bucket ? 1 : 0
  name        = "${var.name}-${local.region}-audit-copies"
  description = "Lets rotate put copies of signed heads into the auditors' bucket"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Copy"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "arn:${local.partition}:s3:::${var.audit_bucket}/rootcast/${local.region}/${var.name}/heads/*"
      },
    ]
  })
  tags = var.tags
}

resource "aws_iam_policy" "traces" {
  count       = local.has_traces ? 1 : 0
  name        = "${var.name}-${local.region}-traces"
  description = "Lets Lambda record traces of the functions in X-Ray"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Record"
        Effect   = "Allow"
        Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = "*"
      },
    ]
  })
  tags = var.tags
}

resource "aws_iam_policy" "network_interfaces" {
  count       = local.in_vpc ? 1 : 0
  name        = "${var.name}-${local.region}-network-interfaces"
  description = "Lets the Lambda service, and not the functions' code, put a function into the VPC"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Attach"
        Effect = "Allow"
        Action = [
          "ec2:AssignPrivateIpAddresses",
          "ec2:CreateNetworkInterface",
          "ec2:DeleteNetworkInterface",
          "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeSubnets",
          "ec2:UnassignPrivateIpAddresses",
        ]
        Resource = "*"
      },
      {
        Sid      = "NotByCode"
        Effect   = "Deny"
        Action   = "ec2:*"
        Resource = "*"
        Condition = {
          ArnEquals = {
            "lambda:SourceFunctionArn" = [
              "arn:${local.partition}:lambda:${local.region}:${local.account_id}:function:${var.name}-worker",
              "arn:${local.partition}:lambda:${local.region}:${local.account_id}:function:${var.name}-catalog",
            ]
          }
        }
      },
    ]
  })
  tags = var.tags
}
