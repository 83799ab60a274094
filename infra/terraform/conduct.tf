# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "conduct" {
  function_name           = "${var.name}-conduct"
  role                    = aws_iam_role.conduct_role.arn
  filename                = "${var.packages}/conduct/bootstrap.zip"
  source_code_hash        = filebase64sha256("${var.packages}/conduct/bootstrap.zip")
  runtime                 = "provided.al2023"
  handler                 = "bootstrap"
  architectures           = [var.architecture]
  memory_size             = 512
  timeout                 = 60
  code_signing_config_arn = local.has_signers ? aws_lambda_code_signing_config.code_signing[0].arn : null
  tags                    = var.tags

  environment {
    variables = merge(
      {
        RUST_LOG              = "info"
        STACK                 = var.name
        CERTIFICATES_TABLE    = aws_dynamodb_table.certificates.name
        JOBS_TABLE            = aws_dynamodb_table.jobs.name
        DEVICES_TABLE         = aws_dynamodb_table.devices.name
        AUDIT_TABLE           = aws_dynamodb_table.audit.name
        EVENT_BUS             = var.event_bus_name
        CONTROL_QUEUE_URL     = aws_sqs_queue.control_queue.url
        TASK_QUEUE_URL        = aws_sqs_queue.task_queue.url
        STALL_SECONDS         = var.stall_seconds
        ISSUER_SECONDS        = var.issue_timeout_seconds
        RENEW_AT_PERCENT_LEFT = var.renew_at_percent_left
        RENEWALS_AN_HOUR      = var.renewals_an_hour
        ROOT_PERMITTED_NAMES  = var.root_permitted_names
        ROOT_BACKDATE_MINUTES = var.root_backdate_minutes
        ROOT_KEY_SLEEPS       = var.root_key_sleeps
        ROOT_DELETION_DAYS    = var.root_deletion_days
        ISSUING_VALIDITY_DAYS = var.issuing_validity_days
        LEAVES_FROM_ROOT      = var.leaves_from_root
        CRL_BASE_URL          = local.has_crl_base ? var.crl_base_url : local.has_edge ? local.has_edge_name ? "http://${var.public_edge_domain_name}" : "http://${aws_cloudfront_distribution.edge[0].domain_name}" : "https://${aws_apigatewayv2_api.api.id}.execute-api.${local.region}.${local.url_suffix}"
        BUNDLE_DAYS           = var.bundle_days
        KEY_ROLES             = "arn:${local.partition}:iam::${local.account_id}:role/rootcast/${local.region}/${var.name}"
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.conduct_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [aws_iam_role_policy.conduct_role, aws_iam_role_policy_attachment.conduct_role_traces]
}

resource "aws_lambda_function_recursion_config" "conduct" {
  function_name  = aws_lambda_function.conduct.function_name
  recursive_loop = "Allow"
}

resource "aws_iam_role" "conduct_role" {
  name                 = "${var.name}-${local.region}-conduct-role"
  path                 = "/rootcast/${local.region}/${var.name}/conduct/"
  description          = "Permissions of conduct - page the devices, run jobs, send tasks, create issuing authorities' keys, sign with a root's key"
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

resource "aws_iam_role_policy" "conduct_role" {
  role = aws_iam_role.conduct_role.name
  name = "conduct"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.conduct_logs.arn}:*"
      },
      {
        Sid      = "Certificates"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.certificates.arn
      },
      {
        Sid    = "Leaves"
        Effect = "Allow"
        Action = "dynamodb:Query"
        Resource = [
          "${aws_dynamodb_table.certificates.arn}/index/by-expiry",
          "${aws_dynamodb_table.certificates.arn}/index/signed",
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
          "dynamodb:ConditionCheckItem",
          "dynamodb:DeleteItem",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
          "dynamodb:Query",
          "dynamodb:UpdateItem",
        ]
        Resource = aws_dynamodb_table.jobs.arn
      },
      {
        Sid      = "JoiningDevices"
        Effect   = "Allow"
        Action   = "dynamodb:BatchGetItem"
        Resource = aws_dynamodb_table.devices.arn
      },
      {
        Sid      = "RenewedDevices"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.devices.arn
      },
      {
        Sid      = "Bindings"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = aws_dynamodb_table.devices.arn
        Condition = {
          "ForAllValues:StringEquals" = {
            "dynamodb:Attributes" = ["id", "bindings", "revision"]
          }
          Null = {
            "dynamodb:Attributes" = "false"
          }
        }
      },
      {
        Sid      = "Control"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
        Resource = aws_sqs_queue.control_queue.arn
      },
      {
        Sid      = "Dispatch"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.task_queue.arn
      },
      {
        Sid      = "CreateKey"
        Effect   = "Allow"
        Action   = "kms:CreateKey"
        Resource = "*"
        Condition = {
          StringEquals = {
            "aws:RequestTag/rootcast:stack" = var.name
            "kms:KeyUsage"                  = "SIGN_VERIFY"
          }
          BoolIfExists = {
            "kms:MultiRegion" = "false"
          }
        }
      },
      {
        Sid      = "TagKey"
        Effect   = "Allow"
        Action   = "kms:TagResource"
        Resource = "arn:${local.partition}:kms:${local.region}:${local.account_id}:key/*"
        Condition = {
          StringEquals = {
            "aws:RequestTag/rootcast:stack" = var.name
          }
          StringEqualsIfExists = {
            "aws:ResourceTag/rootcast:stack" = var.name
            "kms:KeyUsage"                   = "SIGN_VERIFY"
          }
          Null = {
            "kms:ResourceAliases" = "true"
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["rootcast:stack", "rootcast:role", "rootcast:generation", "rootcast:installation", "rootcast:serial"]
          }
        }
      },
      {
        Sid      = "NameKey"
        Effect   = "Allow"
        Action   = "kms:CreateAlias"
        Resource = "arn:${local.partition}:kms:${local.region}:${local.account_id}:alias/rootcast/${var.name}/*"
      },
      {
        Sid      = "KeepNamed"
        Effect   = "Deny"
        Action   = "kms:ScheduleKeyDeletion"
        Resource = "*"
        Condition = {
          "ForAnyValue:StringLike" = {
            "kms:ResourceAliases" = "alias/*"
          }
          "ForAllValues:StringNotLike" = {
            "kms:ResourceAliases" = "alias/rootcast/${var.name}/retired/*"
          }
        }
      },
      {
        Sid      = "NeverWakeRetired"
        Effect   = "Deny"
        Action   = ["kms:EnableKey", "kms:Sign"]
        Resource = "*"
        Condition = {
          "ForAnyValue:StringLike" = {
            "kms:ResourceAliases" = "alias/rootcast/${var.name}/retired/*"
          }
        }
      },
      {
        Sid      = "FindKeys"
        Effect   = "Allow"
        Action   = "tag:GetResources"
        Resource = "*"
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

resource "aws_iam_role_policy_attachment" "conduct_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.conduct_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "conduct_logs" {
  name              = "/aws/lambda/${var.name}-conduct"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_lambda_function_event_invoke_config" "conduct_event_invoke_config" {
  function_name                = aws_lambda_function.conduct.function_name
  qualifier                    = "$LATEST"
  maximum_event_age_in_seconds = 60
  maximum_retry_attempts       = 0

  destination_config {}
}

resource "aws_lambda_event_source_mapping" "conduct_control" {
  function_name           = aws_lambda_function.conduct.function_name
  event_source_arn        = aws_sqs_queue.control_queue.arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]
  tags                    = var.tags

  scaling_config {
    maximum_concurrency = 2
  }
}

resource "aws_cloudwatch_event_rule" "conduct_wake" {
  name                = "${var.name}-conduct-wake"
  schedule_expression = "rate(1 minute)"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "conduct_wake" {
  rule           = aws_cloudwatch_event_rule.conduct_wake.name
  event_bus_name = aws_cloudwatch_event_rule.conduct_wake.event_bus_name
  target_id      = "ConductWakeLambdaTarget"
  arn            = aws_lambda_function.conduct.arn
  input          = "{\"wake\":\"running\"}"
}

resource "aws_cloudwatch_metric_alarm" "conduct_errors_alarm" {
  alarm_name        = "${var.name}-conduct-errors-alarm"
  alarm_description = "Conduct crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.conduct.function_name
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

resource "aws_lambda_permission" "conduct_wake_permission" {
  statement_id  = "ConductWakePermission"
  function_name = aws_lambda_function.conduct.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.conduct_wake.arn
}
