# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "catalog" {
  function_name                  = "${var.name}-catalog"
  role                           = aws_iam_role.catalog_role.arn
  filename                       = "${var.packages}/catalog/bootstrap.zip"
  source_code_hash               = filebase64sha256("${var.packages}/catalog/bootstrap.zip")
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  memory_size                    = 512
  timeout                        = 29
  reserved_concurrent_executions = local.reserves_concurrency ? var.api_reserved_concurrency : null
  code_signing_config_arn        = local.has_signers ? aws_lambda_code_signing_config.code_signing[0].arn : null
  tags                           = var.tags

  environment {
    variables = merge(
      {
        RUST_LOG           = "info"
        STACK              = var.name
        CERTIFICATES_TABLE = aws_dynamodb_table.certificates.name
        JOBS_TABLE         = aws_dynamodb_table.jobs.name
        DEVICES_TABLE      = aws_dynamodb_table.devices.name
        ACCESS_TABLE       = aws_dynamodb_table.access.name
        AUDIT_TABLE        = aws_dynamodb_table.audit.name
        HEADS_TABLE        = aws_dynamodb_table.heads.name
        TWO_PERSONS        = var.two_persons
        EVENT_BUS          = var.event_bus_name
        CONTROL_QUEUE_URL  = aws_sqs_queue.control_queue.url
        ISSUE_QUEUE_URL    = aws_sqs_queue.issue_queue.url
        TASK_QUEUE_URL     = aws_sqs_queue.task_queue.url
        DEVICE_CIDRS       = var.device_cidrs
        CREDENTIAL_PREFIX  = var.credential_prefix
        PRICES             = var.prices
        ACCESS_KEY_ARN     = aws_kms_key.access_key.arn
        SEALING_KEY_ARN    = aws_kms_key.sealing_key.arn
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.catalog_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  dynamic "vpc_config" {
    for_each = local.in_vpc ? [true] : []

    content {
      subnet_ids                  = var.subnet_ids
      security_group_ids          = var.security_group_ids
      ipv6_allowed_for_dual_stack = local.has_ipv6 ? true : false
    }
  }

  depends_on = [
    aws_iam_role_policy.catalog_role,
    aws_iam_role_policy_attachment.catalog_role_network_interfaces,
    aws_iam_role_policy_attachment.catalog_role_traces,
  ]
}

resource "aws_iam_role" "catalog_role" {
  name                 = "${var.name}-${local.region}-catalog-role"
  path                 = "/rootcast/${local.region}/${var.name}/catalog/"
  description          = "Permissions of catalog - read roots and certificates, edit devices, create and control jobs, set the policy of the next root"
  permissions_boundary = local.has_boundary ? var.permissions_boundary_arn : null
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "lambda.amazonaws.com"
        }
        Action = "sts:AssumeRole"
      },
    ]
  })
  tags = var.tags
}

resource "aws_iam_role_policy" "catalog_role" {
  role = aws_iam_role.catalog_role.name
  name = "catalog"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.catalog_logs.arn}:*"
      },
      {
        Sid      = "Certificates"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem"]
        Resource = aws_dynamodb_table.certificates.arn
      },
      {
        Sid    = "Lists"
        Effect = "Allow"
        Action = "dynamodb:Query"
        Resource = [
          "${aws_dynamodb_table.certificates.arn}/index/by-expiry",
          "${aws_dynamodb_table.certificates.arn}/index/by-name",
          "${aws_dynamodb_table.certificates.arn}/index/by-update",
          "${aws_dynamodb_table.certificates.arn}/index/by-thumbprint",
          "${aws_dynamodb_table.certificates.arn}/index/signed",
        ]
      },
      {
        Sid      = "Policies"
        Effect   = "Allow"
        Action   = "dynamodb:PutItem"
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringEquals" = {
            "dynamodb:LeadingKeys" = ["policy", "issuance-policy"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Imported"
        Effect   = "Allow"
        Action   = ["dynamodb:DeleteItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*", "name#*", "leaf#*", "listed#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Places"
        Effect   = "Allow"
        Action   = "dynamodb:PutItem"
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*", "name#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid    = "Jobs"
        Effect = "Allow"
        Action = [
          "dynamodb:BatchGetItem",
          "dynamodb:DeleteItem",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
          "dynamodb:Query",
          "dynamodb:UpdateItem",
        ]
        Resource = aws_dynamodb_table.jobs.arn
      },
      {
        Sid    = "Devices"
        Effect = "Allow"
        Action = [
          "dynamodb:BatchGetItem",
          "dynamodb:DeleteItem",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
          "dynamodb:Scan",
          "dynamodb:UpdateItem",
        ]
        Resource = aws_dynamodb_table.devices.arn
      },
      {
        Sid      = "Authority"
        Effect   = "Allow"
        Action   = "dynamodb:ConditionCheckItem"
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringEquals" = {
            "dynamodb:LeadingKeys" = ["authority"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Parameters"
        Effect   = "Allow"
        Action   = "ssm:ListTagsForResource"
        Resource = "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.credential_prefix}*"
      },
      {
        Sid      = "Tokens"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.access.arn
      },
      {
        Sid      = "Attempts"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["attempts#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Sessions"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["session#*"]
          }
          "ForAllValues:StringEquals" = {
            "dynamodb:Attributes" = ["id", "expires"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
            "dynamodb:Attributes"  = "false"
          }
        }
      },
      {
        Sid      = "SignaturesSeen"
        Effect   = "Allow"
        Action   = "dynamodb:PutItem"
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["signature#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "SecondPerson"
        Effect   = "Allow"
        Action   = ["dynamodb:PutItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["request#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Cursors"
        Effect   = "Allow"
        Action   = "dynamodb:PutItem"
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["cursors"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "AccessKeys"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.access_key.arn
        Condition = {
          Null = {
            "kms:EncryptionContext:rootcast:access-key" = "false"
          }
        }
      },
      {
        Sid      = "Credentials"
        Effect   = "Allow"
        Action   = "kms:GenerateDataKey"
        Resource = aws_kms_key.sealing_key.arn
        Condition = {
          Null = {
            "kms:EncryptionContext:rootcast:device" = "false"
          }
        }
      },
      {
        Sid      = "Wake"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.control_queue.arn
      },
      {
        Sid      = "Tell"
        Effect   = "Allow"
        Action   = "events:PutEvents"
        Resource = "arn:${local.partition}:events:${local.region}:${local.account_id}:event-bus/${var.event_bus_name}"
        Condition = {
          StringEquals = {
            "events:source" = "rootcast"
          }
        }
      },
      {
        Sid      = "Audit"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
        Resource = aws_dynamodb_table.audit.arn
      },
      {
        Sid      = "Heads"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = aws_dynamodb_table.heads.arn
      },
      {
        Sid      = "Publish"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.issue_queue.arn
      },
      {
        Sid      = "Probe"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.task_queue.arn
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "catalog_role_network_interfaces" {
  count      = local.in_vpc ? 1 : 0
  role       = aws_iam_role.catalog_role.name
  policy_arn = aws_iam_policy.network_interfaces[0].arn
}

resource "aws_iam_role_policy_attachment" "catalog_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.catalog_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "catalog_logs" {
  name              = "/aws/lambda/${var.name}-catalog"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_cloudwatch_metric_alarm" "catalog_errors_alarm" {
  alarm_name        = "${var.name}-catalog-errors-alarm"
  alarm_description = "Catalog crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.catalog.function_name
  }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_lambda_permission" "api_calls_catalog" {
  statement_id  = "ApiCallsCatalog"
  function_name = aws_lambda_function.catalog.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "arn:${local.partition}:execute-api:${local.region}:${local.account_id}:${aws_apigatewayv2_api.api.id}/*/*"
}
