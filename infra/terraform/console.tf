# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "console" {
  function_name                  = "${var.name}-console"
  role                           = aws_iam_role.console_role.arn
  filename                       = "${var.packages}/console/bootstrap.zip"
  source_code_hash               = filebase64sha256("${var.packages}/console/bootstrap.zip")
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
        RUST_LOG            = "info"
        REGENERATE_FUNCTION = aws_lambda_function.regenerate.function_name
        CATALOG_FUNCTION    = aws_lambda_function.catalog.function_name
        IMPORT_FUNCTION     = aws_lambda_function.import.function_name
        ACCESS_FUNCTION     = aws_lambda_function.login.function_name
        URL_SUFFIX          = local.url_suffix
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
      { for v in local.has_sign_in ? [var.oidc_issuer] : [] : "OIDC_ISSUER" => v },
      { for v in local.has_sign_in ? [var.oidc_client_id] : [] : "OIDC_CLIENT_ID" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.console_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [aws_iam_role_policy.console_role, aws_iam_role_policy_attachment.console_role_traces]
}

resource "aws_iam_role" "console_role" {
  name                 = "${var.name}-${local.region}-console-role"
  path                 = "/rootcast/${local.region}/${var.name}/console/"
  description          = "Permissions of console - ask the functions of the API, with the session of whoever looks at a page"
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

resource "aws_iam_role_policy" "console_role" {
  role = aws_iam_role.console_role.name
  name = "console"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.console_logs.arn}:*"
      },
      {
        Sid    = "Ask"
        Effect = "Allow"
        Action = "lambda:InvokeFunction"
        Resource = [
          aws_lambda_function.regenerate.arn,
          aws_lambda_function.catalog.arn,
          aws_lambda_function.import.arn,
          aws_lambda_function.login.arn,
        ]
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "console_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.console_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "console_logs" {
  name              = "/aws/lambda/${var.name}-console"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_cloudwatch_metric_alarm" "console_errors_alarm" {
  alarm_name        = "${var.name}-console-errors-alarm"
  alarm_description = "Console crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.console.function_name
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

resource "aws_lambda_permission" "api_calls_console" {
  statement_id  = "ApiCallsConsole"
  function_name = aws_lambda_function.console.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "arn:${local.partition}:execute-api:${local.region}:${local.account_id}:${aws_apigatewayv2_api.api.id}/*/*"
}
