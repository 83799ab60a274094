# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_function" "regenerate" {
  function_name                  = "${var.name}-regenerate"
  role                           = aws_iam_role.regenerate_role.arn
  filename                       = "${var.packages}/regenerate/bootstrap.zip"
  source_code_hash               = filebase64sha256("${var.packages}/regenerate/bootstrap.zip")
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
        RUST_LOG              = "info"
        STACK                 = var.name
        CERTIFICATES_TABLE    = aws_dynamodb_table.certificates.name
        JOBS_TABLE            = aws_dynamodb_table.jobs.name
        DEVICES_TABLE         = aws_dynamodb_table.devices.name
        ACCESS_TABLE          = aws_dynamodb_table.access.name
        AUDIT_TABLE           = aws_dynamodb_table.audit.name
        TWO_PERSONS           = var.two_persons
        EVENT_BUS             = var.event_bus_name
        CONTROL_QUEUE_URL     = aws_sqs_queue.control_queue.url
        ROOT_NAME             = var.root_name
        ROOT_SUBJECT          = var.root_subject
        ROOT_PERMITTED_NAMES  = var.root_permitted_names
        CRL_BASE_URL          = var.crl_base_url
        ROOT_VALIDITY_DAYS    = var.root_validity_days
        HOLD_DOWN_HOURS       = var.hold_down_hours
        ROLLOVER_UNTIL        = var.rollover_until
        ROOT_BACKDATE_MINUTES = var.root_backdate_minutes
        ROOT_KEY_SLEEPS       = var.root_key_sleeps
        MULTI_REGION_ROOTS    = var.multi_region_roots
        LEAVES_FROM_ROOT      = var.leaves_from_root
        BUNDLE_DAYS           = var.bundle_days
        MAXIMUM_CONCURRENCY   = var.maximum_concurrency
        KEY_ROLES             = "arn:${local.partition}:iam::${local.account_id}:role/rootcast/${local.region}/${var.name}"
      },
      { for v in local.has_endpoint ? [var.endpoint_url] : [] : "AWS_ENDPOINT_URL" => v },
    )
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.regenerate_logs.name
  }

  tracing_config {
    mode = var.tracing
  }

  depends_on = [aws_iam_role_policy.regenerate_role, aws_iam_role_policy_attachment.regenerate_role_traces]
}

resource "aws_iam_role" "regenerate_role" {
  name                 = "${var.name}-${local.region}-regenerate-role"
  path                 = "/rootcast/${local.region}/${var.name}/regenerate/"
  description          = "Permissions of regenerate - create a root's key and sign with it, record root and job, wake the conductor"
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

resource "aws_iam_role_policy" "regenerate_role" {
  role = aws_iam_role.regenerate_role.name
  name = "regenerate"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.regenerate_logs.arn}:*"
      },
      {
        Sid      = "Certificates"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.certificates.arn
      },
      {
        Sid      = "Jobs"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:ConditionCheckItem", "dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.jobs.arn
      },
      {
        Sid      = "JobIds"
        Effect   = "Allow"
        Action   = "dynamodb:UpdateItem"
        Resource = aws_dynamodb_table.jobs.arn
        Condition = {
          "ForAllValues:StringEquals" = {
            "dynamodb:LeadingKeys" = ["counter"]
          }
          Null = {
            "dynamodb:LeadingKeys" = "false"
          }
        }
      },
      {
        Sid      = "Goals"
        Effect   = "Allow"
        Action   = "dynamodb:Scan"
        Resource = aws_dynamodb_table.devices.arn
        Condition = {
          "ForAllValues:StringEquals" = {
            "dynamodb:Attributes" = ["id", "goal", "pins", "unapproved"]
          }
          StringEquals = {
            "dynamodb:Select" = "SPECIFIC_ATTRIBUTES"
          }
          Null = {
            "dynamodb:Attributes" = "false"
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
            "kms:MultiRegion" = tostring(var.multi_region_roots)
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

resource "aws_iam_role_policy_attachment" "regenerate_role_traces" {
  count      = local.has_traces ? 1 : 0
  role       = aws_iam_role.regenerate_role.name
  policy_arn = aws_iam_policy.traces[0].arn
}

resource "aws_cloudwatch_log_group" "regenerate_logs" {
  name              = "/aws/lambda/${var.name}-regenerate"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_lambda_function_event_invoke_config" "regenerate_event_invoke_config" {
  function_name                = aws_lambda_function.regenerate.function_name
  qualifier                    = "$LATEST"
  maximum_event_age_in_seconds = 21600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.event_dead_letters.arn
    }
  }
}

resource "aws_cloudwatch_event_rule" "regenerate_foreign_signature" {
  name  = "${var.name}-foreign-signatures"
  state = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
  event_pattern = jsonencode({
    source      = ["aws.kms"]
    detail-type = ["AWS API Call via CloudTrail"]
    detail = {
      eventName = ["Sign"]
      userIdentity = {
        sessionContext = {
          sessionIssuer = {
            arn = [
              {
                exists = false
              },
              {
                anything-but = {
                  prefix = "arn:${local.partition}:iam::${local.account_id}:role/rootcast/${local.region}/${var.name}/"
                }
              },
            ]
          }
        }
      }
    }
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "regenerate_foreign_signature" {
  rule           = aws_cloudwatch_event_rule.regenerate_foreign_signature.name
  event_bus_name = aws_cloudwatch_event_rule.regenerate_foreign_signature.event_bus_name
  target_id      = "RegenerateForeignSignatureLambdaTarget"
  arn            = aws_lambda_function.regenerate.arn

  dead_letter_config {
    arn = aws_sqs_queue.event_dead_letters.arn
  }
}

resource "aws_cloudwatch_event_rule" "regenerate_key_changed" {
  name = "${var.name}-signing-keys"
  event_pattern = jsonencode({
    source = ["aws.kms"]
    "$or" = [
      {
        detail-type = ["KMS CMK Deletion"]
      },
      {
        detail-type = ["AWS API Call via CloudTrail"]
        detail = {
          eventName = ["CreateGrant", "DisableKey", "PutKeyPolicy", "ScheduleKeyDeletion"]
        }
      },
    ]
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "regenerate_key_changed" {
  rule           = aws_cloudwatch_event_rule.regenerate_key_changed.name
  event_bus_name = aws_cloudwatch_event_rule.regenerate_key_changed.event_bus_name
  target_id      = "RegenerateKeyChangedLambdaTarget"
  arn            = aws_lambda_function.regenerate.arn

  dead_letter_config {
    arn = aws_sqs_queue.event_dead_letters.arn
  }
}

resource "aws_cloudwatch_event_rule" "regenerate_root_compromised" {
  name           = "${var.name}-root-compromised"
  event_bus_name = aws_cloudwatch_event_bus.requests.name
  event_pattern = jsonencode({
    detail-type = ["Root Compromised"]
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "regenerate_root_compromised" {
  rule           = aws_cloudwatch_event_rule.regenerate_root_compromised.name
  event_bus_name = aws_cloudwatch_event_rule.regenerate_root_compromised.event_bus_name
  target_id      = "RegenerateRootCompromisedLambdaTarget"
  arn            = aws_lambda_function.regenerate.arn

  dead_letter_config {
    arn = aws_sqs_queue.event_dead_letters.arn
  }
}

resource "aws_cloudwatch_event_rule" "regenerate_rotate_root" {
  name           = "${var.name}-rotate-root"
  event_bus_name = aws_cloudwatch_event_bus.requests.name
  event_pattern = jsonencode({
    detail-type = ["Rotate Root"]
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "regenerate_rotate_root" {
  rule           = aws_cloudwatch_event_rule.regenerate_rotate_root.name
  event_bus_name = aws_cloudwatch_event_rule.regenerate_rotate_root.event_bus_name
  target_id      = "RegenerateRotateRootLambdaTarget"
  arn            = aws_lambda_function.regenerate.arn

  dead_letter_config {
    arn = aws_sqs_queue.event_dead_letters.arn
  }
}

resource "aws_cloudwatch_event_rule" "regenerate_rotation" {
  name                = "${var.name}-regenerate-rotation"
  schedule_expression = "rate(1 hour)"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "regenerate_rotation" {
  rule           = aws_cloudwatch_event_rule.regenerate_rotation.name
  event_bus_name = aws_cloudwatch_event_rule.regenerate_rotation.event_bus_name
  target_id      = "RegenerateRotationLambdaTarget"
  arn            = aws_lambda_function.regenerate.arn
  input          = "{\"wake\":\"rotation\"}"
}

resource "aws_cloudwatch_metric_alarm" "regenerate_errors_alarm" {
  alarm_name        = "${var.name}-regenerate-errors-alarm"
  alarm_description = "Regenerate crashed, ran into its time limit or refused an event. Its log says why."
  namespace         = "AWS/Lambda"
  metric_name       = "Errors"
  dimensions = {
    FunctionName = aws_lambda_function.regenerate.function_name
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

resource "aws_lambda_permission" "api_calls_regenerate" {
  statement_id  = "ApiCallsRegenerate"
  function_name = aws_lambda_function.regenerate.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "arn:${local.partition}:execute-api:${local.region}:${local.account_id}:${aws_apigatewayv2_api.api.id}/*/*"
}

resource "aws_lambda_permission" "regenerate_foreign_signature_permission" {
  statement_id  = "RegenerateForeignSignaturePermission"
  function_name = aws_lambda_function.regenerate.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.regenerate_foreign_signature.arn
}

resource "aws_lambda_permission" "regenerate_key_changed_permission" {
  statement_id  = "RegenerateKeyChangedPermission"
  function_name = aws_lambda_function.regenerate.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.regenerate_key_changed.arn
}

resource "aws_lambda_permission" "regenerate_root_compromised_permission" {
  statement_id  = "RegenerateRootCompromisedPermission"
  function_name = aws_lambda_function.regenerate.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.regenerate_root_compromised.arn
}

resource "aws_lambda_permission" "regenerate_rotate_root_permission" {
  statement_id  = "RegenerateRotateRootPermission"
  function_name = aws_lambda_function.regenerate.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.regenerate_rotate_root.arn
}

resource "aws_lambda_permission" "regenerate_rotation_permission" {
  statement_id  = "RegenerateRotationPermission"
  function_name = aws_lambda_function.regenerate.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.regenerate_rotation.arn
}
