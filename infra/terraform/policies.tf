# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

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
