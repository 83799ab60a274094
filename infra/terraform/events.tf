# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

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
