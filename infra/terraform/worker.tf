# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "worker" {
  function_name           = "${var.name}-worker"
  role                    = aws_iam_role.worker_role.arn
  filename                = "${var.packages}/worker/bootstrap.zip"
  source_code_hash        = filebase64sha256("${var.packages}/worker/bootstrap.zip")
  runtime                 = "provided.al2023"
  handler                 = "bootstrap"
  architectures           = [var.architecture]
  memory_size             = 256
  timeout                 = var.worker_timeout_seconds
  code_signing_config_arn = local.has_signers ? aws_lambda_code_signing_config.code_signing[0].arn : null
  tags                    = var.tags

  environment {
    variables = merge(
      {
        RUST_LOG               = "info"
        STACK                  = var.name
        CERTIFICATES_TABLE     = aws_dynamodb_table.certificates.name
        JOBS_TABLE             = aws_dynamodb_table.jobs.name
        DEVICES_TABLE          = aws_dynamodb_table.devices.name
        CONTROL_QUEUE_URL      = aws_sqs_queue.control_queue.url
        TASK_QUEUE_URL         = aws_sqs_queue.task_queue.url
        ISSUE_QUEUE_URL        = aws_sqs_queue.issue_queue.url
        DEVICE_CIDRS           = var.device_cidrs
        CREDENTIAL_PREFIX      = var.credential_prefix
        DEVICE_TIMEOUT_SECONDS = var.device_timeout_seconds
        RETRY_BASE_SECONDS     = var.retry_base_seconds
        SEALING_KEY_ARN        = aws_kms_key.sealing_key.arn
        EVENT_BUS              = var.event_bus_name
        MAX_TRIES              = var.max_tries
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.worker_logs.name
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
    aws_iam_role_policy.worker_role,
    aws_iam_role_policy_attachment.worker_role_network_interfaces,
    aws_iam_role_policy_attachment.worker_role_traces,
  ]
}

resource "aws_lambda_function_recursion_config" "worker" {
  function_name  = aws_lambda_function.worker.function_name
  recursive_loop = "Allow"
}

resource "aws_iam_role" "worker_role" {
  name                 = "${var.name}-${local.region}-worker-role"
  path                 = "/rootcast/${local.region}/${var.name}/worker/"
  description          = "Permissions of worker - read a device's goal and credential, lease the device, record the outcome"
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

resource "aws_iam_role_policy" "worker_role" {
  role = aws_iam_role.worker_role.name
  name = "worker"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.worker_logs.arn}:*"
      },
      {
        Sid      = "Certificates"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.certificates.arn
      },
      {
        Sid      = "Uses"
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
        Sid      = "PrivateKeys"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.sealing_key.arn
        Condition = {
          Null = {
            "kms:EncryptionContext:rootcast:certificate" = "false"
          }
        }
      },
      {
        Sid      = "SealedCredentials"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.sealing_key.arn
        Condition = {
          Null = {
            "kms:EncryptionContext:rootcast:device" = "false"
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
        Sid      = "Tasks"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.jobs.arn
      },
      {
        Sid      = "Progress"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = aws_dynamodb_table.jobs.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["*#counters"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Devices"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
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
        Resource = aws_sqs_queue.task_queue.arn
      },
      {
        Sid      = "PassOn"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.issue_queue.arn
      },
      {
        Sid      = "Wake"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.control_queue.arn
      },
      {
        Sid      = "Credentials"
        Effect   = "Allow"
        Action   = "ssm:GetParameters"
        Resource = "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.credential_prefix}*"
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "worker_role_network_interfaces" {
  count      = local.in_vpc ? 1 : 0
  role       = aws_iam_role.worker_role.name
  policy_arn = aws_iam_policy.network_interfaces[0].arn
}

resource "aws_iam_role_policy_attachment" "worker_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.worker_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "worker_logs" {
  name              = "/aws/lambda/${var.name}-worker"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_lambda_event_source_mapping" "worker_task" {
  function_name           = aws_lambda_function.worker.function_name
  event_source_arn        = aws_sqs_queue.task_queue.arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]
  tags                    = var.tags

  scaling_config {
    maximum_concurrency = var.maximum_concurrency
  }
}

resource "aws_cloudwatch_metric_alarm" "worker_errors_alarm" {
  alarm_name        = "${var.name}-worker-errors-alarm"
  alarm_description = "Worker crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.worker.function_name
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
