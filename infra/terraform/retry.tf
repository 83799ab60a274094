# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "retry" {
  function_name                  = "${var.name}-retry"
  role                           = aws_iam_role.retry_role.arn
  filename                       = "${var.packages}/retry/bootstrap.zip"
  source_code_hash               = filebase64sha256("${var.packages}/retry/bootstrap.zip")
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  memory_size                    = 256
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
        EVENT_BUS          = var.event_bus_name
        CONTROL_QUEUE_URL  = aws_sqs_queue.control_queue.url
        ISSUE_QUEUE_URL    = aws_sqs_queue.issue_queue.url
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.retry_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [aws_iam_role_policy.retry_role, aws_iam_role_policy_attachment.retry_role_traces]
}

resource "aws_iam_role" "retry_role" {
  name                 = "${var.name}-${local.region}-retry-role"
  path                 = "/rootcast/${local.region}/${var.name}/retry/"
  description          = "Permissions of retry - read certificates and roots, associate certificates with devices, start, abort and retry deployments, revoke"
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

resource "aws_iam_role_policy" "retry_role" {
  role = aws_iam_role.retry_role.name
  name = "retry"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.retry_logs.arn}:*"
      },
      {
        Sid      = "Certificates"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*", "name#*", "serial#*", "issuing#*", "listed#*", "authority"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "ManyCertificates"
        Effect   = "Allow"
        Action   = "dynamodb:BatchGetItem"
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*", "root#*", "name#*", "listed#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid    = "Lists"
        Effect = "Allow"
        Action = "dynamodb:Query"
        Resource = [
          "${aws_dynamodb_table.certificates.arn}/index/by-name",
          "${aws_dynamodb_table.certificates.arn}/index/by-update",
          "${aws_dynamodb_table.certificates.arn}/index/by-thumbprint",
        ]
      },
      {
        Sid      = "Count"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*"]
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
        Sid      = "Unfinished"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = "${aws_dynamodb_table.jobs.arn}/index/unfinished"
      },
      {
        Sid      = "Devices"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.devices.arn
      },
      {
        Sid      = "Tokens"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.access.arn
      },
      {
        Sid      = "Undone"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.event_dead_letters.arn
      },
      {
        Sid      = "Wake"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.control_queue.arn
      },
      {
        Sid      = "Publish"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.issue_queue.arn
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
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.audit.arn
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "retry_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.retry_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "retry_logs" {
  name              = "/aws/lambda/${var.name}-retry"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_lambda_function_event_invoke_config" "retry_event_invoke_config" {
  function_name                = aws_lambda_function.retry.function_name
  qualifier                    = "$LATEST"
  maximum_event_age_in_seconds = 21600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.event_dead_letters.arn
    }
  }
}

resource "aws_cloudwatch_event_rule" "retry_renew_certificates" {
  name           = "${var.name}-renew-device-certificates"
  event_bus_name = aws_cloudwatch_event_bus.requests.name
  event_pattern = jsonencode({
    detail-type = ["Device Certificate Renewal Requested"]
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "retry_renew_certificates" {
  rule           = aws_cloudwatch_event_rule.retry_renew_certificates.name
  event_bus_name = aws_cloudwatch_event_rule.retry_renew_certificates.event_bus_name
  target_id      = "RetryRenewCertificatesLambdaTarget"
  arn            = aws_lambda_function.retry.arn

  dead_letter_config {
    arn = aws_sqs_queue.event_dead_letters.arn
  }
}

resource "aws_cloudwatch_metric_alarm" "retry_errors_alarm" {
  alarm_name        = "${var.name}-retry-errors-alarm"
  alarm_description = "Retry crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.retry.function_name
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

resource "aws_lambda_permission" "api_calls_retry" {
  statement_id  = "ApiCallsRetry"
  function_name = aws_lambda_function.retry.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "arn:${local.partition}:execute-api:${local.region}:${local.account_id}:${aws_apigatewayv2_api.api.id}/*/*"
}

resource "aws_lambda_permission" "retry_renew_certificates_permission" {
  statement_id  = "RetryRenewCertificatesPermission"
  function_name = aws_lambda_function.retry.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.retry_renew_certificates.arn
}
