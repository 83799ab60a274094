# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "login" {
  function_name                  = "${var.name}-access"
  role                           = aws_iam_role.login_role.arn
  filename                       = "${var.packages}/access/bootstrap.zip"
  source_code_hash               = filebase64sha256("${var.packages}/access/bootstrap.zip")
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  memory_size                    = 1024
  timeout                        = 29
  reserved_concurrent_executions = local.reserves_concurrency ? var.api_reserved_concurrency : null
  code_signing_config_arn        = local.has_signers ? aws_lambda_code_signing_config.code_signing[0].arn : null
  tags                           = var.tags

  environment {
    variables = merge(
      {
        RUST_LOG             = "info"
        STACK                = var.name
        ACCESS_TABLE         = aws_dynamodb_table.access.name
        AUDIT_TABLE          = aws_dynamodb_table.audit.name
        TWO_PERSONS          = var.two_persons
        SESSION_IDLE_MINUTES = var.session_idle_minutes
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.login_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [aws_iam_role_policy.login_role, aws_iam_role_policy_attachment.login_role_traces]
}

resource "aws_iam_role" "login_role" {
  name                 = "${var.name}-${local.region}-login-role"
  path                 = "/rootcast/${local.region}/${var.name}/access/"
  description          = "Permissions of access - manage principals, count log-in attempts, issue and revoke tokens and sessions, have a second person decide"
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

resource "aws_iam_role_policy" "login_role" {
  role = aws_iam_role.login_role.name
  name = "access"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.login_logs.arn}:*"
      },
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = "dynamodb:GetItem"
        Resource = aws_dynamodb_table.access.arn
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = "dynamodb:Scan"
        Resource = aws_dynamodb_table.access.arn
      },
      {
        Sid      = "Give"
        Effect   = "Allow"
        Action   = "dynamodb:PutItem"
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = [
              "cursors",
              "decision#*",
              "grant#*",
              "identity#*",
              "principal#*",
              "refresh#*",
              "request#*",
              "session#*",
              "token#*",
            ]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Change"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["attempts#*", "grant#*", "principal#*", "request#*", "session#*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "TakeBack"
        Effect   = "Allow"
        Action   = "dynamodb:DeleteItem"
        Resource = aws_dynamodb_table.access.arn
        Condition = {
          "ForAllValues:StringLike" = {
            "dynamodb:LeadingKeys" = ["grant#*", "identity#*", "principal#*", "refresh#*", "session#*", "token#*"]
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
            "dynamodb:LeadingKeys" = ["denials:*", "principal:*", "request:*"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "login_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.login_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "login_logs" {
  name              = "/aws/lambda/${var.name}-access"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_cloudwatch_metric_alarm" "login_errors_alarm" {
  alarm_name        = "${var.name}-login-errors-alarm"
  alarm_description = "Access crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.login.function_name
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

resource "aws_lambda_permission" "api_calls_login" {
  statement_id  = "ApiCallsLogin"
  function_name = aws_lambda_function.login.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "arn:${local.partition}:execute-api:${local.region}:${local.account_id}:${aws_apigatewayv2_api.api.id}/*/*"
}
