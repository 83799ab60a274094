# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "issue" {
  function_name           = "${var.name}-issue"
  role                    = aws_iam_role.issue_role.arn
  filename                = "${var.packages}/issue/bootstrap.zip"
  source_code_hash        = filebase64sha256("${var.packages}/issue/bootstrap.zip")
  runtime                 = "provided.al2023"
  handler                 = "bootstrap"
  architectures           = [var.architecture]
  memory_size             = 256
  timeout                 = var.issue_timeout_seconds
  code_signing_config_arn = local.has_signers ? aws_lambda_code_signing_config.code_signing[0].arn : null
  tags                    = var.tags

  environment {
    variables = merge(
      {
        RUST_LOG                = "info"
        STACK                   = var.name
        CERTIFICATES_TABLE      = aws_dynamodb_table.certificates.name
        JOBS_TABLE              = aws_dynamodb_table.jobs.name
        DEVICES_TABLE           = aws_dynamodb_table.devices.name
        AUDIT_TABLE             = aws_dynamodb_table.audit.name
        ISSUE_QUEUE_URL         = aws_sqs_queue.issue_queue.url
        TASK_QUEUE_URL          = aws_sqs_queue.task_queue.url
        CONTROL_QUEUE_URL       = aws_sqs_queue.control_queue.url
        DEVICE_CERTIFICATE_DAYS = var.device_certificate_days
        RENEW_AT_PERCENT_LEFT   = var.renew_at_percent_left
        REVOKE_SUPERSEDED       = var.revoke_superseded
        LEAVES_FROM_ROOT        = var.leaves_from_root
        CRL_BASE_URL            = local.has_crl_base ? var.crl_base_url : local.has_edge ? local.has_edge_name ? "http://${var.public_edge_domain_name}" : "http://${aws_cloudfront_distribution.edge[0].domain_name}" : "https://${aws_apigatewayv2_api.api.id}.execute-api.${local.region}.${local.url_suffix}"
        RETRY_BASE_SECONDS      = var.retry_base_seconds
        EVENT_BUS               = var.event_bus_name
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.issue_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [aws_iam_role_policy.issue_role, aws_iam_role_policy_attachment.issue_role_traces]
}

resource "aws_lambda_function_recursion_config" "issue" {
  function_name  = aws_lambda_function.issue.function_name
  recursive_loop = "Allow"
}

resource "aws_iam_role" "issue_role" {
  name                 = "${var.name}-${local.region}-issue-role"
  path                 = "/rootcast/${local.region}/${var.name}/issue/"
  description          = "Permissions of issue - sign devices' certificates and revocation lists with an issuing authority's key, and store them"
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

resource "aws_iam_role_policy" "issue_role" {
  role = aws_iam_role.issue_role.name
  name = "issue"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.issue_logs.arn}:*"
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
        Action   = ["dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.certificates.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*", "serial#*", "leaf#*", "listed#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Jobs"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.jobs.arn
      },
      {
        Sid      = "Revoked"
        Effect   = "Allow"
        Action   = "dynamodb:DeleteItem"
        Resource = aws_dynamodb_table.jobs.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["former#*", "ended"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Subjects"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.devices.arn
      },
      {
        Sid    = "Consume"
        Effect = "Allow"
        Action = [
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
          "sqs:ReceiveMessage",
          "sqs:SendMessage",
        ]
        Resource = aws_sqs_queue.issue_queue.arn
      },
      {
        Sid      = "HandOn"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.task_queue.arn
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
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.audit.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["scs*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "issue_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.issue_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "issue_logs" {
  name              = "/aws/lambda/${var.name}-issue"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_lambda_function_event_invoke_config" "issue_event_invoke_config" {
  function_name                = aws_lambda_function.issue.function_name
  qualifier                    = "$LATEST"
  maximum_event_age_in_seconds = 900
  maximum_retry_attempts       = 0

  destination_config {}
}

resource "aws_lambda_event_source_mapping" "issue_issue" {
  function_name                      = aws_lambda_function.issue.function_name
  event_source_arn                   = aws_sqs_queue.issue_queue.arn
  batch_size                         = 1000
  maximum_batching_window_in_seconds = 1
  function_response_types            = ["ReportBatchItemFailures"]
  tags                               = var.tags

  scaling_config {
    maximum_concurrency = 4
  }
}

resource "aws_cloudwatch_event_rule" "issue_lists" {
  name                = "${var.name}-issue-lists"
  schedule_expression = "rate(15 minutes)"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "issue_lists" {
  rule           = aws_cloudwatch_event_rule.issue_lists.name
  event_bus_name = aws_cloudwatch_event_rule.issue_lists.event_bus_name
  target_id      = "IssueListsLambdaTarget"
  arn            = aws_lambda_function.issue.arn
  input          = "{\"wake\":\"lists\"}"
}

resource "aws_cloudwatch_metric_alarm" "issue_errors_alarm" {
  alarm_name        = "${var.name}-issue-errors-alarm"
  alarm_description = "Issue crashed, ran into its time limit or could not renew a revocation list. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.issue.function_name
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

resource "aws_lambda_permission" "issue_lists_permission" {
  statement_id  = "IssueListsPermission"
  function_name = aws_lambda_function.issue.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.issue_lists.arn
}
