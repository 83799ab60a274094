# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_sqs_queue" "control_queue" {
  name                       = "${var.name}-control"
  visibility_timeout_seconds = 360
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.control_dead_letters.arn
    maxReceiveCount     = 5
  })
  redrive_allow_policy = jsonencode({
    redrivePermission = "denyAll"
  })
  tags = var.tags
}

resource "aws_sqs_queue" "control_dead_letters" {
  name                      = "${var.name}-control-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["arn:${local.partition}:sqs:${local.region}:${local.account_id}:${var.name}-control"]
  })
  tags = var.tags
}

resource "aws_sqs_queue" "task_queue" {
  name                       = "${var.name}-task"
  visibility_timeout_seconds = var.task_visibility_seconds
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.task_dead_letters.arn
    maxReceiveCount     = 20
  })
  redrive_allow_policy = jsonencode({
    redrivePermission = "denyAll"
  })
  tags = var.tags
}

resource "aws_sqs_queue" "task_dead_letters" {
  name                      = "${var.name}-task-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["arn:${local.partition}:sqs:${local.region}:${local.account_id}:${var.name}-task"]
  })
  tags = var.tags
}

resource "aws_sqs_queue" "issue_queue" {
  name                       = "${var.name}-issue"
  visibility_timeout_seconds = var.task_visibility_seconds
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.issue_dead_letters.arn
    maxReceiveCount     = 10
  })
  redrive_allow_policy = jsonencode({
    redrivePermission = "denyAll"
  })
  tags = var.tags
}

resource "aws_sqs_queue" "issue_dead_letters" {
  name                      = "${var.name}-issue-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["arn:${local.partition}:sqs:${local.region}:${local.account_id}:${var.name}-issue"]
  })
  tags = var.tags
}

resource "aws_sqs_queue_policy" "queues_over_tls" {
  for_each = {
    ControlQueue       = aws_sqs_queue.control_queue.url
    ControlDeadLetters = aws_sqs_queue.control_dead_letters.url
    TaskQueue          = aws_sqs_queue.task_queue.url
    TaskDeadLetters    = aws_sqs_queue.task_dead_letters.url
    IssueQueue         = aws_sqs_queue.issue_queue.url
    IssueDeadLetters   = aws_sqs_queue.issue_dead_letters.url
  }
  queue_url = each.value
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OverTlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "*"
        Condition = {
          Bool = {
            "aws:SecureTransport" = "false"
          }
        }
      },
    ]
  })
}

resource "aws_sqs_queue" "event_dead_letters" {
  name                      = "${var.name}-event-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  redrive_allow_policy = jsonencode({
    redrivePermission = "denyAll"
  })
  tags = var.tags
}

resource "aws_sqs_queue_policy" "event_dead_letters_policy" {
  for_each = {
    EventDeadLetters = aws_sqs_queue.event_dead_letters.url
  }
  queue_url = each.value
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OverTlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "*"
        Condition = {
          Bool = {
            "aws:SecureTransport" = "false"
          }
        }
      },
      {
        Sid    = "Undelivered"
        Effect = "Allow"
        Principal = {
          Service = "events.amazonaws.com"
        }
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.event_dead_letters.arn
        Condition = {
          ArnEquals = {
            "aws:SourceArn" = [
              "arn:${local.partition}:events:${local.region}:${local.account_id}:rule/${var.name}-requests/${var.name}-rotate-root",
              "arn:${local.partition}:events:${local.region}:${local.account_id}:rule/${var.name}-requests/${var.name}-root-compromised",
              "arn:${local.partition}:events:${local.region}:${local.account_id}:rule/${var.name}-requests/${var.name}-renew-device-certificates",
              "arn:${local.partition}:events:${local.region}:${local.account_id}:rule/${var.name}-signing-keys",
            ]
          }
        }
      },
    ]
  })
}
