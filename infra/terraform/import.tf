# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "import" {
  function_name                  = "${var.name}-import"
  role                           = aws_iam_role.import_role.arn
  filename                       = "${var.packages}/import/bootstrap.zip"
  source_code_hash               = filebase64sha256("${var.packages}/import/bootstrap.zip")
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
        ACCESS_TABLE       = aws_dynamodb_table.access.name
        AUDIT_TABLE        = aws_dynamodb_table.audit.name
        TWO_PERSONS        = var.two_persons
        SEALING_KEY_ARN    = aws_kms_key.sealing_key.arn
        ACCESS_KEY_ARN     = aws_kms_key.access_key.arn
        EVENT_BUS          = var.event_bus_name
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.import_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [aws_iam_role_policy.import_role, aws_iam_role_policy_attachment.import_role_traces]
}

resource "aws_iam_role" "import_role" {
  name                 = "${var.name}-${local.region}-import-role"
  path                 = "/rootcast/${local.region}/${var.name}/import/"
  description          = "Permissions of import - seal a private key and store it with its certificate, open it for an export"
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

resource "aws_iam_role_policy" "import_role" {
  role = aws_iam_role.import_role.name
  name = "import"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.import_logs.arn}:*"
      },
      {
        Sid      = "Certificates"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem"]
        Resource = aws_dynamodb_table.certificates.arn
      },
      {
        Sid      = "Store"
        Effect   = "Allow"
        Action   = ["dynamodb:PutItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*", "name#*", "leaf#*", "request#*", "listed#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Audit"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.audit.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["denials:*", "request:*", "scs*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Tokens"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.access.arn
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
        Sid      = "PrivateKeys"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = aws_kms_key.sealing_key.arn
        Condition = {
          Null = {
            "kms:EncryptionContext:rootcast:certificate" = "false"
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
    ]
  })
}

resource "aws_iam_role_policy_attachment" "import_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.import_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "import_logs" {
  name              = "/aws/lambda/${var.name}-import"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_cloudwatch_metric_alarm" "import_errors_alarm" {
  alarm_name        = "${var.name}-import-errors-alarm"
  alarm_description = "Import crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.import.function_name
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

resource "aws_lambda_permission" "api_calls_import" {
  statement_id  = "ApiCallsImport"
  function_name = aws_lambda_function.import.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "arn:${local.partition}:execute-api:${local.region}:${local.account_id}:${aws_apigatewayv2_api.api.id}/*/*"
}

resource "aws_cloudwatch_log_metric_filter" "keys_exported" {
  name           = "${var.name}-keys-exported"
  log_group_name = aws_cloudwatch_log_group.import_logs.name
  pattern        = "\"private key exported\""

  metric_transformation {
    name      = "KeysExported"
    namespace = "Rootcast/${var.name}"
    value     = "1"
  }
}
