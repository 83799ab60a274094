# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

output "api_url" {
  description = "Base address of the API"
  value       = "https://${aws_apigatewayv2_api.api.id}.execute-api.${local.region}.${local.url_suffix}"
}

output "api_id" {
  description = "Id of the HTTP API"
  value       = aws_apigatewayv2_api.api.id
}

output "certificates_table" {
  description = "Name of the table of roots and bundles"
  value       = aws_dynamodb_table.certificates.name
}

output "jobs_table" {
  description = "Name of the table of jobs and tasks"
  value       = aws_dynamodb_table.jobs.name
}

output "devices_table" {
  description = "Name of the table of devices"
  value       = aws_dynamodb_table.devices.name
}

output "access_table" {
  description = "Name of the access table"
  value       = aws_dynamodb_table.access.name
}

output "audit_table" {
  description = "Name of the table of audit chains"
  value       = aws_dynamodb_table.audit.name
}

output "heads_table" {
  description = "Name of the table of signed statements of the audit chains' heads"
  value       = aws_dynamodb_table.heads.name
}

output "control_queue_url" {
  description = "Queue of the conductor"
  value       = aws_sqs_queue.control_queue.url
}

output "control_dead_letters_url" {
  description = "Control messages that failed at every receive"
  value       = aws_sqs_queue.control_dead_letters.url
}

output "task_queue_url" {
  description = "Queue of the workers"
  value       = aws_sqs_queue.task_queue.url
}

output "task_dead_letters_url" {
  description = "Tasks that failed at every receive"
  value       = aws_sqs_queue.task_dead_letters.url
}

output "issue_queue_url" {
  description = "Queue of the issuer"
  value       = aws_sqs_queue.issue_queue.url
}

output "issue_dead_letters_url" {
  description = "Messages to the issuer that failed at every receive"
  value       = aws_sqs_queue.issue_dead_letters.url
}

output "event_dead_letters_url" {
  description = "Events that were not carried out"
  value       = aws_sqs_queue.event_dead_letters.url
}

output "requests_bus" {
  description = "Name of the bus for events that ask for something"
  value       = aws_cloudwatch_event_bus.requests.name
}

output "regenerate_function" {
  description = "Name of the function regenerate"
  value       = aws_lambda_function.regenerate.function_name
}

output "conduct_function" {
  description = "Name of the function conduct"
  value       = aws_lambda_function.conduct.function_name
}

output "worker_function" {
  description = "Name of the function worker"
  value       = aws_lambda_function.worker.function_name
}

output "issue_function" {
  description = "Name of the function issue"
  value       = aws_lambda_function.issue.function_name
}

output "catalog_function" {
  description = "Name of the function catalog"
  value       = aws_lambda_function.catalog.function_name
}

output "import_function" {
  description = "Name of the function import"
  value       = aws_lambda_function.import.function_name
}

output "retry_function" {
  description = "Name of the function retry"
  value       = aws_lambda_function.retry.function_name
}

output "login_function" {
  description = "Name of the function access"
  value       = aws_lambda_function.login.function_name
}

output "console_function" {
  description = "Name of the function console"
  value       = aws_lambda_function.console.function_name
}

output "rotate_function" {
  description = "Name of the function rotate"
  value       = aws_lambda_function.rotate.function_name
}

output "sealing_key_arn" {
  description = "Key that seals the private keys of imported certificates"
  value       = aws_kms_key.sealing_key.arn
}

output "leaves_from_root" {
  description = "Whether the root keys' policies let the issuer sign"
  value       = var.leaves_from_root
}

output "key_roles" {
  description = "Path of the roles that the root keys' policies name"
  value       = "arn:${local.partition}:iam::${local.account_id}:role/rootcast/${local.region}/${var.name}"
}

output "audit_key_arn" {
  description = "Key that signs the heads of the audit chains"
  value       = aws_kms_key.audit_key.arn
}

output "access_key_arn" {
  description = "Key that seals the secrets of access keys"
  value       = aws_kms_key.access_key.arn
}

output "alarm_topic" {
  description = "The stack's own topic for alarms"
  value       = local.has_own_topic ? aws_sns_topic.alarm_topic[0].arn : null
}

output "api_domain_target" {
  description = "Where the record of api_domain_name leads (CNAME or alias)"
  value       = local.has_api_name ? aws_apigatewayv2_domain_name.api_name[0].domain_name_configuration[0].target_domain_name : null
}

output "public_edge_target" {
  description = "Address of the public edge; where the record of public_edge_domain_name leads"
  value       = local.has_edge ? aws_cloudfront_distribution.edge[0].domain_name : null
}

# The outputs again, where `rootcast --stack` looks for them. The stack has no resource that costs or does anything.
resource "aws_cloudformation_stack" "outputs" {
  name = var.name
  template_body = jsonencode({
    Resources = {
      Nothing = {
        Type = "AWS::CloudFormation::WaitConditionHandle"
      }
    }
    Outputs = merge(
      {
        ApiUrl = {
          Value = "https://${aws_apigatewayv2_api.api.id}.execute-api.${local.region}.${local.url_suffix}"
        }
        ApiId = {
          Value = aws_apigatewayv2_api.api.id
        }
        CertificatesTable = {
          Value = aws_dynamodb_table.certificates.name
        }
        JobsTable = {
          Value = aws_dynamodb_table.jobs.name
        }
        DevicesTable = {
          Value = aws_dynamodb_table.devices.name
        }
        AccessTable = {
          Value = aws_dynamodb_table.access.name
        }
        AuditTable = {
          Value = aws_dynamodb_table.audit.name
        }
        HeadsTable = {
          Value = aws_dynamodb_table.heads.name
        }
        ControlQueueUrl = {
          Value = aws_sqs_queue.control_queue.url
        }
        ControlDeadLettersUrl = {
          Value = aws_sqs_queue.control_dead_letters.url
        }
        TaskQueueUrl = {
          Value = aws_sqs_queue.task_queue.url
        }
        TaskDeadLettersUrl = {
          Value = aws_sqs_queue.task_dead_letters.url
        }
        IssueQueueUrl = {
          Value = aws_sqs_queue.issue_queue.url
        }
        IssueDeadLettersUrl = {
          Value = aws_sqs_queue.issue_dead_letters.url
        }
        EventDeadLettersUrl = {
          Value = aws_sqs_queue.event_dead_letters.url
        }
        RequestsBus = {
          Value = aws_cloudwatch_event_bus.requests.name
        }
        RegenerateFunction = {
          Value = aws_lambda_function.regenerate.function_name
        }
        ConductFunction = {
          Value = aws_lambda_function.conduct.function_name
        }
        WorkerFunction = {
          Value = aws_lambda_function.worker.function_name
        }
        IssueFunction = {
          Value = aws_lambda_function.issue.function_name
        }
        CatalogFunction = {
          Value = aws_lambda_function.catalog.function_name
        }
        ImportFunction = {
          Value = aws_lambda_function.import.function_name
        }
        RetryFunction = {
          Value = aws_lambda_function.retry.function_name
        }
        LoginFunction = {
          Value = aws_lambda_function.login.function_name
        }
        ConsoleFunction = {
          Value = aws_lambda_function.console.function_name
        }
        RotateFunction = {
          Value = aws_lambda_function.rotate.function_name
        }
        SealingKeyArn = {
          Value = aws_kms_key.sealing_key.arn
        }
        LeavesFromRoot = {
          Value = tostring(var.leaves_from_root)
        }
        KeyRoles = {
          Value = "arn:${local.partition}:iam::${local.account_id}:role/rootcast/${local.region}/${var.name}"
        }
        AuditKeyArn = {
          Value = aws_kms_key.audit_key.arn
        }
        AccessKeyArn = {
          Value = aws_kms_key.access_key.arn
        }
      },
      { for v in local.has_own_topic ? [
        {
          Value = aws_sns_topic.alarm_topic[0].arn
        },
      ] : [] : "AlarmTopic" => v },
      { for v in local.has_api_name ? [
        {
          Value = aws_apigatewayv2_domain_name.api_name[0].domain_name_configuration[0].target_domain_name
        },
      ] : [] : "ApiDomainTarget" => v },
      { for v in local.has_edge ? [
        {
          Value = aws_cloudfront_distribution.edge[0].domain_name
        },
      ] : [] : "PublicEdgeTarget" => v },
    )
  })
  tags = var.tags
}
