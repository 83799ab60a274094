# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_cloudwatch_metric_alarm" "control_dead_letters_alarm" {
  alarm_name        = "${var.name}-control-dead-letters-alarm"
  alarm_description = "A control message failed at every receive. Read conduct's log, put the cause right, then redrive the queue."
  namespace         = "AWS/SQS"
  metric_name       = "ApproximateNumberOfMessagesVisible"
  dimensions = {
    QueueName = aws_sqs_queue.control_dead_letters.name
  }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "task_dead_letters_alarm" {
  alarm_name        = "${var.name}-task-dead-letters-alarm"
  alarm_description = "A device's task ended every worker that took it. Read worker's log, put the cause right, then redrive the queue."
  namespace         = "AWS/SQS"
  metric_name       = "ApproximateNumberOfMessagesVisible"
  dimensions = {
    QueueName = aws_sqs_queue.task_dead_letters.name
  }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "issue_dead_letters_alarm" {
  alarm_name        = "${var.name}-issue-dead-letters-alarm"
  alarm_description = "A certificate or a revocation list could not be signed at any receive. Read issue's log, put the cause right, then redrive the queue."
  namespace         = "AWS/SQS"
  metric_name       = "ApproximateNumberOfMessagesVisible"
  dimensions = {
    QueueName = aws_sqs_queue.issue_dead_letters.name
  }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "event_dead_letters_alarm" {
  alarm_name        = "${var.name}-event-dead-letters-alarm"
  alarm_description = "An event that asks for something was not carried out. The message says which one and why; correct it, and put it on the bus again."
  namespace         = "AWS/SQS"
  metric_name       = "ApproximateNumberOfMessagesVisible"
  dimensions = {
    QueueName = aws_sqs_queue.event_dead_letters.name
  }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "jobs_paused_alarm" {
  alarm_name        = "${var.name}-jobs-paused-alarm"
  alarm_description = "A rollover is paused, by a person or because more devices failed than its error budget allows, and goes on when somebody resumes it. `rootcast job show` says why."
  namespace         = "Rootcast"
  metric_name       = "JobsPaused"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "signing_keys_changed_alarm" {
  alarm_name        = "${var.name}-signing-keys-changed-alarm"
  alarm_description = "Somebody outside of the stack signed with the key of a root or an issuing authority, changed its policy or grants, disabled it, or scheduled its deletion. Regenerate's log and the root's audit say who. What was signed is not ours, so a root whose key signed is compromised; else put the policy back, cancel the deletion, or enable the key."
  namespace         = "Rootcast"
  metric_name       = "SigningKeysChanged"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "pin_mismatch_alarm" {
  alarm_name        = "${var.name}-pin-mismatch-alarm"
  alarm_description = "A device showed another TLS certificate than the approved one; no credential was sent to it. The job's failed tasks name it."
  namespace         = "Rootcast"
  metric_name       = "PinMismatches"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "operations_denied_alarm" {
  alarm_name        = "${var.name}-operations-denied-alarm"
  alarm_description = "Callers were refused twenty operations in five minutes. `rootcast audit denials NAME` shows what a caller tried."
  namespace         = "Rootcast"
  metric_name       = "OperationsDenied"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 20
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "bundle_life_alarm" {
  alarm_name        = "${var.name}-bundle-life-alarm"
  alarm_description = "Less than a quarter of BundleDays is left of the signed bundle, which is signed again at half of it. Conduct's log says what keeps it from that."
  namespace         = "Rootcast"
  metric_name       = "BundleLifeLeft"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 3600
  evaluation_periods  = 1
  threshold           = 25
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "root_days_alarm" {
  alarm_name        = "${var.name}-root-days-alarm"
  alarm_description = "The root that signs ends in less than 90 days, and its devices need a new one before. `rootcast rotate --preflight` says what it takes; `rootcast root policy` has it replaced by itself."
  namespace         = "Rootcast"
  metric_name       = "RootDaysLeft"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Minimum"
  period              = 3600
  evaluation_periods  = 1
  threshold           = 90
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "crl_hours_alarm" {
  alarm_name        = "${var.name}-crl-hours-alarm"
  alarm_description = "A revocation list ends within a day, after which verifiers that ask for it refuse certificates. Lists are signed again at half of their life; the logs of issue, and of conduct for lists of roots, say what keeps it from that."
  namespace         = "Rootcast"
  metric_name       = "CrlHoursLeft"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 3600
  evaluation_periods  = 1
  threshold           = 24
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "audit_heads_alarm" {
  alarm_name        = "${var.name}-audit-heads-alarm"
  alarm_description = "For three hours no statement of the audit's heads was signed, or the stack is less than an hour old. Rotate's log says why."
  namespace         = "Rootcast"
  metric_name       = "AuditHeadsSigned"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Sum"
  period              = 10800
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "audit_heads_unreadable_alarm" {
  alarm_name        = "${var.name}-audit-heads-unreadable-alarm"
  alarm_description = "Somebody put an item among the heads of the audit chains that is none. Rotate's log names it; CloudTrail says who."
  namespace         = "Rootcast"
  metric_name       = "AuditHeadsUnreadable"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 3600
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "renewals_late_alarm" {
  alarm_name        = "${var.name}-renewals-late-alarm"
  alarm_description = "A device's certificate ends soon, and its renewals by themselves fail or cannot begin. Conduct's log names it; `rootcast job list` names the jobs."
  namespace         = "Rootcast"
  metric_name       = "RenewalsLate"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 86400
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "jobs_failed_alarm" {
  alarm_name        = "${var.name}-jobs-failed-alarm"
  alarm_description = "A job ended without every device on the new root. `rootcast job show` names the devices and what to do."
  namespace         = "Rootcast"
  metric_name       = "JobsFailed"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "root_keys_pending_deletion_alarm" {
  alarm_name        = "${var.name}-root-keys-pending-deletion-alarm"
  alarm_description = "KMS is about to delete the key of a retired root. Nothing has to be done if that is meant: `rootcast root show` says when, and `rootcast root keep GENERATION` cancels it."
  namespace         = "Rootcast"
  metric_name       = "RootKeysPendingDeletion"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 3600
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "root_keys_awake_alarm" {
  alarm_name        = "${var.name}-root-keys-awake-alarm"
  alarm_description = "A root's key that should sleep has been awake for ten minutes. Conduct's log says what keeps it; a key that an earlier version made needs `rootcast root protect-keys`."
  namespace         = "Rootcast"
  metric_name       = "RootKeysAwake"
  dimensions = {
    Stack = var.name
  }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "control_age_alarm" {
  alarm_name        = "${var.name}-control-age-alarm"
  alarm_description = "No conductor has taken a control message for a quarter of an hour. Read conduct's log; its event source mapping may be disabled, or the account's concurrency used up."
  namespace         = "AWS/SQS"
  metric_name       = "ApproximateAgeOfOldestMessage"
  dimensions = {
    QueueName = aws_sqs_queue.control_queue.name
  }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 900
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "task_age_alarm" {
  alarm_name        = "${var.name}-task-age-alarm"
  alarm_description = "The oldest task has waited for an hour. Workers are too few (MaximumConcurrency), throttled, or end before they record a result; `rootcast job show` says which job."
  namespace         = "AWS/SQS"
  metric_name       = "ApproximateAgeOfOldestMessage"
  dimensions = {
    QueueName = aws_sqs_queue.task_queue.name
  }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 3600
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "issue_age_alarm" {
  alarm_name        = "${var.name}-issue-age-alarm"
  alarm_description = "The oldest certificate or revocation list has waited for its signature for an hour. Issue's log says why."
  namespace         = "AWS/SQS"
  metric_name       = "ApproximateAgeOfOldestMessage"
  dimensions = {
    QueueName = aws_sqs_queue.issue_queue.name
  }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 3600
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "recursions_dropped_alarm" {
  alarm_name          = "${var.name}-recursions-dropped-alarm"
  alarm_description   = "Lambda ended a chain of our functions as a loop, although they allow it (RecursiveLoop). Jobs go on by the schedule alone; compare the functions' setting with the template."
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags

  metric_query {
    id         = "sum"
    expression = "FILL(m1, 0) + FILL(m2, 0) + FILL(m3, 0)"
    label      = "sum"
  }

  metric_query {
    id          = "m1"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "RecursiveInvocationsDropped"
      dimensions = {
        FunctionName = aws_lambda_function.conduct.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m2"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "RecursiveInvocationsDropped"
      dimensions = {
        FunctionName = aws_lambda_function.worker.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m3"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "RecursiveInvocationsDropped"
      dimensions = {
        FunctionName = aws_lambda_function.issue.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "throttles_alarm" {
  alarm_name          = "${var.name}-throttles-alarm"
  alarm_description   = "Lambda refused calls of our functions in two of three periods of five minutes. The account has too little concurrency, or ApiReservedConcurrency is too small."
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags

  metric_query {
    id         = "sum"
    expression = "FILL(m1, 0) + FILL(m2, 0) + FILL(m3, 0) + FILL(m4, 0) + FILL(m5, 0) + FILL(m6, 0) + FILL(m7, 0) + FILL(m8, 0) + FILL(m9, 0) + FILL(m10, 0)"
    label      = "sum"
  }

  metric_query {
    id          = "m1"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.regenerate.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m2"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.conduct.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m3"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.worker.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m4"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.issue.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m5"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.catalog.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m6"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.import.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m7"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.retry.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m8"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.login.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m9"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.rotate.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m10"
    return_data = false

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions = {
        FunctionName = aws_lambda_function.console.function_name
      }
      period = 300
      stat   = "Sum"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "table_throttles_alarm" {
  alarm_name          = "${var.name}-table-throttles-alarm"
  alarm_description   = "DynamoDB refused more than a hundred writes in five minutes, in two of three such periods. A rollover is slower meanwhile, and loses nothing; waves that are less wide help."
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold           = 100
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags

  metric_query {
    id         = "sum"
    expression = "FILL(m1, 0) + FILL(m2, 0) + FILL(m3, 0)"
    label      = "sum"
  }

  metric_query {
    id          = "m1"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      dimensions = {
        TableName = aws_dynamodb_table.certificates.name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m2"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      dimensions = {
        TableName = aws_dynamodb_table.jobs.name
      }
      period = 300
      stat   = "Sum"
    }
  }

  metric_query {
    id          = "m3"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      dimensions = {
        TableName = aws_dynamodb_table.devices.name
      }
      period = 300
      stat   = "Sum"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "api_errors_alarm" {
  alarm_name        = "${var.name}-api-errors-alarm"
  alarm_description = "The API answered five requests in five minutes with 5xx. Its access log names the requests, and the function's log the error."
  namespace         = "AWS/ApiGateway"
  metric_name       = "5xx"
  dimensions = {
    ApiId = aws_apigatewayv2_api.api.id
  }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 4
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "lockouts_alarm" {
  alarm_name        = "${var.name}-lockouts-alarm"
  alarm_description = "Ten wrong passwords for a name or from an address - further attempts are delayed. `rootcast audit principal NAME` shows them."
  namespace         = "Rootcast"
  metric_name       = "LoginLocks"
  dimensions = {
    Stack = var.name
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

resource "aws_cloudwatch_metric_alarm" "events_lost_alarm" {
  alarm_name        = "${var.name}-events-lost-alarm"
  alarm_description = "EventBridge did not take an event of ours after retries. The log of the function that lost it has the event; nothing else is lost."
  namespace         = "Rootcast"
  metric_name       = "EventsLost"
  dimensions = {
    Stack = var.name
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

resource "aws_cloudwatch_metric_alarm" "keys_exported_alarm" {
  alarm_name          = "${var.name}-keys-exported-alarm"
  alarm_description   = "A private key was exported. `rootcast audit certificate ID` says whose and by whom; import's log has the id."
  namespace           = "Rootcast/${var.name}"
  metric_name         = "KeysExported"
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "stack_keys_changed_alarm" {
  alarm_name        = "${var.name}-stack-keys-changed-alarm"
  alarm_description = "Somebody disabled, scheduled for deletion, or changed the policy or the grants of a key that seals or signs for the stack. CloudTrail says who; cancel the deletion, or enable the key."
  namespace         = "AWS/Events"
  metric_name       = "TriggeredRules"
  dimensions = {
    RuleName = aws_cloudwatch_event_rule.stack_keys_changed.name
  }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "backups_failed_alarm" {
  count             = local.has_backups ? 1 : 0
  alarm_name        = "${var.name}-backups-failed-alarm"
  alarm_description = "A daily backup of a table failed. AWS Backup names the table and the reason."
  namespace         = "AWS/Backup"
  metric_name       = "NumberOfBackupJobsFailed"
  dimensions = {
    BackupVaultName = aws_backup_vault.backup_vault[0].name
  }
  statistic           = "Sum"
  period              = 86400
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  ok_actions          = local.has_own_topic || local.has_topic ? local.has_own_topic ? [aws_sns_topic.alarm_topic[0].arn] : [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_sns_topic" "alarm_topic" {
  count        = local.has_own_topic ? 1 : 0
  name         = "${var.name}-alarms"
  display_name = "Rootcast ${var.name}"
  tags         = var.tags
}

resource "aws_sns_topic_policy" "alarm_topic_policy" {
  count = local.has_own_topic ? 1 : 0
  arn   = aws_sns_topic.alarm_topic[0].arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Alarms"
        Effect = "Allow"
        Principal = {
          Service = "cloudwatch.amazonaws.com"
        }
        Action   = "sns:Publish"
        Resource = aws_sns_topic.alarm_topic[0].arn
        Condition = {
          ArnLike = {
            "aws:SourceArn" = "arn:${local.partition}:cloudwatch:${local.region}:${local.account_id}:alarm:*"
          }
        }
      },
      {
        Sid    = "Keys"
        Effect = "Allow"
        Principal = {
          Service = "events.amazonaws.com"
        }
        Action   = "sns:Publish"
        Resource = aws_sns_topic.alarm_topic[0].arn
        Condition = {
          ArnEquals = {
            "aws:SourceArn" = aws_cloudwatch_event_rule.stack_keys_changed.arn
          }
        }
      },
      {
        Sid       = "OverTlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarm_topic[0].arn
        Condition = {
          Bool = {
            "aws:SecureTransport" = "false"
          }
        }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "alarm_subscription" {
  count     = local.has_alarm_email ? 1 : 0
  topic_arn = aws_sns_topic.alarm_topic[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_dashboard" "overview" {
  count          = local.has_dashboard ? 1 : 0
  dashboard_name = var.name
  dashboard_body = "{ \"widgets\": [\n  { \"type\": \"metric\", \"x\": 0, \"y\": 0, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Tasks: oldest, seconds\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Maximum\", \"period\": 300, \"metrics\": [[\"AWS/SQS\", \"ApproximateAgeOfOldestMessage\", \"QueueName\", \"${aws_sqs_queue.control_queue.name}\"], [\"AWS/SQS\", \"ApproximateAgeOfOldestMessage\", \"QueueName\", \"${aws_sqs_queue.task_queue.name}\"], [\"AWS/SQS\", \"ApproximateAgeOfOldestMessage\", \"QueueName\", \"${aws_sqs_queue.issue_queue.name}\"]] } },\n  { \"type\": \"metric\", \"x\": 12, \"y\": 0, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Messages that wait\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Maximum\", \"period\": 300, \"metrics\": [[\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.task_queue.name}\"], [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.issue_queue.name}\"], [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.control_dead_letters.name}\"], [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.task_dead_letters.name}\"], [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.issue_dead_letters.name}\"], [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.event_dead_letters.name}\"]] } },\n  { \"type\": \"metric\", \"x\": 0, \"y\": 6, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Jobs and devices\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Sum\", \"period\": 300, \"metrics\": [[\"Rootcast\", \"JobsPaused\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"JobsFailed\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"RenewalsFailed\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"RenewalsLate\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"PinMismatches\", \"Stack\", \"${var.name}\"]] } },\n  { \"type\": \"metric\", \"x\": 12, \"y\": 6, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Bundle: percent of its days left\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Maximum\", \"period\": 3600, \"metrics\": [[\"Rootcast\", \"BundleLifeLeft\", \"Stack\", \"${var.name}\"]] } },\n  { \"type\": \"metric\", \"x\": 0, \"y\": 12, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Keys\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Maximum\", \"period\": 300, \"metrics\": [[\"Rootcast\", \"RootKeysAwake\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"RootKeysPendingDeletion\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"SigningKeysChanged\", \"Stack\", \"${var.name}\"], [\"Rootcast/${var.name}\", \"KeysExported\"]] } },\n  { \"type\": \"metric\", \"x\": 12, \"y\": 12, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Callers\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Sum\", \"period\": 300, \"metrics\": [[\"Rootcast\", \"LoginFailures\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"LoginLocks\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"LoginUnlocks\", \"Stack\", \"${var.name}\"], [\"Rootcast\", \"OperationsDenied\", \"Stack\", \"${var.name}\"]] } },\n  { \"type\": \"metric\", \"x\": 0, \"y\": 18, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"API: answers\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Sum\", \"period\": 300, \"metrics\": [[\"AWS/ApiGateway\", \"Count\", \"ApiId\", \"${aws_apigatewayv2_api.api.id}\"], [\"AWS/ApiGateway\", \"4xx\", \"ApiId\", \"${aws_apigatewayv2_api.api.id}\"], [\"AWS/ApiGateway\", \"5xx\", \"ApiId\", \"${aws_apigatewayv2_api.api.id}\"]] } },\n  { \"type\": \"metric\", \"x\": 12, \"y\": 18, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"API: latency, 99 percent\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"p99\", \"period\": 300, \"metrics\": [[\"AWS/ApiGateway\", \"Latency\", \"ApiId\", \"${aws_apigatewayv2_api.api.id}\"]] } },\n  { \"type\": \"metric\", \"x\": 0, \"y\": 24, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Functions: concurrent\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Maximum\", \"period\": 300, \"metrics\": [[\"AWS/Lambda\", \"ConcurrentExecutions\", \"FunctionName\", \"${aws_lambda_function.conduct.function_name}\"], [\"AWS/Lambda\", \"ConcurrentExecutions\", \"FunctionName\", \"${aws_lambda_function.worker.function_name}\"], [\"AWS/Lambda\", \"ConcurrentExecutions\", \"FunctionName\", \"${aws_lambda_function.issue.function_name}\"], [\"AWS/Lambda\", \"ConcurrentExecutions\", \"FunctionName\", \"${aws_lambda_function.catalog.function_name}\"]] } },\n  { \"type\": \"metric\", \"x\": 12, \"y\": 24, \"width\": 12, \"height\": 6, \"properties\": { \"title\": \"Functions: throttles and errors\", \"region\": \"${local.region}\", \"view\": \"timeSeries\", \"stat\": \"Sum\", \"period\": 300, \"metrics\": [[\"AWS/Lambda\", \"Throttles\", \"FunctionName\", \"${aws_lambda_function.conduct.function_name}\"], [\"AWS/Lambda\", \"Throttles\", \"FunctionName\", \"${aws_lambda_function.worker.function_name}\"], [\"AWS/Lambda\", \"Throttles\", \"FunctionName\", \"${aws_lambda_function.issue.function_name}\"], [\"AWS/Lambda\", \"Throttles\", \"FunctionName\", \"${aws_lambda_function.catalog.function_name}\"], [\"AWS/Lambda\", \"Errors\", \"FunctionName\", \"${aws_lambda_function.conduct.function_name}\"], [\"AWS/Lambda\", \"Errors\", \"FunctionName\", \"${aws_lambda_function.worker.function_name}\"], [\"AWS/Lambda\", \"Errors\", \"FunctionName\", \"${aws_lambda_function.issue.function_name}\"], [\"AWS/Lambda\", \"Errors\", \"FunctionName\", \"${aws_lambda_function.catalog.function_name}\"]] } }\n] }\n"
}
