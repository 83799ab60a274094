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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "jobs_paused_alarm" {
  alarm_name        = "${var.name}-jobs-paused-alarm"
  alarm_description = "A job was paused because more devices failed than its error budget allows. `rootcast job show` says why."
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "signing_keys_changed_alarm" {
  alarm_name        = "${var.name}-signing-keys-changed-alarm"
  alarm_description = "Somebody outside of the stack disabled the key of a root or an issuing authority, or scheduled its deletion. Regenerate's log and the root's audit say who; cancel the deletion, or enable the key."
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
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
  alarm_actions       = local.has_topic ? [var.alarm_topic_arn] : null
  ok_actions          = local.has_topic ? [var.alarm_topic_arn] : null
  tags                = var.tags
}
