# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_cloudwatch_event_rule" "stack_keys_changed" {
  name        = "${var.name}-stack-keys"
  description = "Somebody disables, deletes or opens to others a key of Rootcast stack ${var.name}"
  event_pattern = jsonencode({
    source      = ["aws.kms"]
    detail-type = ["AWS API Call via CloudTrail"]
    detail = {
      eventName = ["CreateGrant", "DisableKey", "PutKeyPolicy", "ScheduleKeyDeletion"]
      userIdentity = {
        invokedBy = [
          {
            exists = false
          },
        ]
      }
      resources = {
        ARN = concat(
          [aws_kms_key.sealing_key.arn],
          [aws_kms_key.access_key.arn],
          [aws_kms_key.audit_key.arn],
          local.has_customer_keys ? [aws_kms_key.tables_key[0].arn] : [],
          local.has_customer_keys ? [aws_kms_key.logs_key[0].arn] : [],
        )
      }
    }
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "stack_keys_changed" {
  count          = local.has_own_topic ? 1 : 0
  rule           = aws_cloudwatch_event_rule.stack_keys_changed.name
  event_bus_name = aws_cloudwatch_event_rule.stack_keys_changed.event_bus_name
  target_id      = "topic"
  arn            = aws_sns_topic.alarm_topic[0].arn
}

resource "aws_cloudwatch_event_bus" "requests" {
  name        = "${var.name}-requests"
  description = "Requests to Rootcast stack ${var.name}. Whoever may put an event here may have it carried out."
  tags        = var.tags
}

resource "aws_cloudwatch_event_bus_policy" "requests_policy" {
  event_bus_name = aws_cloudwatch_event_bus.requests.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "named-requesters-only"
        Effect    = "Deny"
        Principal = "*"
        Action    = "events:PutEvents"
        Resource  = aws_cloudwatch_event_bus.requests.arn
        Condition = {
          ArnNotLike = {
            "aws:PrincipalArn" = jsondecode(local.has_requesters ? jsonencode(var.requester_arns) : jsonencode("arn:${local.partition}:iam::${local.account_id}:role/rootcast/nobody"))
          }
        }
      },
    ]
  })
}
