# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "rotate" {
  function_name           = "${var.name}-rotate"
  role                    = aws_iam_role.rotate_role.arn
  filename                = "${var.packages}/rotate/bootstrap.zip"
  source_code_hash        = filebase64sha256("${var.packages}/rotate/bootstrap.zip")
  runtime                 = "provided.al2023"
  handler                 = "bootstrap"
  architectures           = [var.architecture]
  memory_size             = 256
  timeout                 = 300
  code_signing_config_arn = local.has_signers ? aws_lambda_code_signing_config.code_signing[0].arn : null
  tags                    = var.tags

  environment {
    variables = merge(
      {
        RUST_LOG              = "info"
        STACK                 = var.name
        CERTIFICATES_TABLE    = aws_dynamodb_table.certificates.name
        AUDIT_TABLE           = aws_dynamodb_table.audit.name
        HEADS_TABLE           = aws_dynamodb_table.heads.name
        AUDIT_KEY_ARN         = aws_kms_key.audit_key.arn
        AUDIT_BUCKET          = var.audit_bucket
        URL_SUFFIX            = local.url_suffix
        EVENT_BUS             = var.event_bus_name
        CONTROL_QUEUE_URL     = aws_sqs_queue.control_queue.url
        RENEW_AT_PERCENT_LEFT = var.renew_at_percent_left
        RENEWALS_AN_HOUR      = var.renewals_an_hour
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.rotate_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [
    aws_iam_role_policy.rotate_role,
    aws_iam_role_policy_attachment.rotate_role_audit_copies,
    aws_iam_role_policy_attachment.rotate_role_traces,
  ]
}

resource "aws_iam_role" "rotate_role" {
  name                 = "${var.name}-${local.region}-rotate-role"
  path                 = "/rootcast/${local.region}/${var.name}/rotate/"
  description          = "Permissions of rotate - find certificates that expire soon, send events about them, and record that; ask for renewals; sign the heads of the audit chains"
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

resource "aws_iam_role_policy" "rotate_role" {
  role = aws_iam_role.rotate_role.name
  name = "rotate"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.rotate_logs.arn}:*"
      },
      {
        Sid    = "Find"
        Effect = "Allow"
        Action = "dynamodb:Query"
        Resource = [
          "${aws_dynamodb_table.certificates.arn}/index/by-expiry",
          "${aws_dynamodb_table.certificates.arn}/index/by-renewal",
          "${aws_dynamodb_table.certificates.arn}/index/by-update",
        ]
      },
      {
        Sid      = "Counts"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["listed#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Ask"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.control_queue.arn
      },
      {
        Sid      = "Note"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
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
        Sid      = "Changed"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = "${aws_dynamodb_table.audit.arn}/index/by-change"
      },
      {
        Sid      = "Heads"
        Effect   = "Allow"
        Action   = ["dynamodb:PutItem", "dynamodb:Query"]
        Resource = aws_dynamodb_table.heads.arn
      },
      {
        Sid      = "Notary"
        Effect   = "Allow"
        Action   = ["kms:GetPublicKey", "kms:Sign"]
        Resource = aws_kms_key.audit_key.arn
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "rotate_role_audit_copies" {
  count      = local.has_audit_bucket ? 1 : 0
  role       = aws_iam_role.rotate_role.name
  policy_arn = aws_iam_policy.audit_copies[0].arn
}

resource "aws_iam_role_policy_attachment" "rotate_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.rotate_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "rotate_logs" {
  name              = "/aws/lambda/${var.name}-rotate"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_lambda_function_event_invoke_config" "rotate_event_invoke_config" {
  function_name                = aws_lambda_function.rotate.function_name
  qualifier                    = "$LATEST"
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 0

  destination_config {}
}

resource "aws_cloudwatch_event_rule" "rotate_look" {
  name                = "${var.name}-rotate-look"
  schedule_expression = "rate(1 hour)"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "rotate_look" {
  rule           = aws_cloudwatch_event_rule.rotate_look.name
  event_bus_name = aws_cloudwatch_event_rule.rotate_look.event_bus_name
  target_id      = "RotateLookLambdaTarget"
  arn            = aws_lambda_function.rotate.arn
}

resource "aws_cloudwatch_metric_alarm" "rotate_errors_alarm" {
  alarm_name        = "${var.name}-rotate-errors-alarm"
  alarm_description = "Rotate crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.rotate.function_name
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

resource "aws_lambda_permission" "rotate_look_permission" {
  statement_id  = "RotateLookPermission"
  function_name = aws_lambda_function.rotate.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.rotate_look.arn
}
