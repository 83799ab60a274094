# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_backup_vault" "backup_vault" {
  count = local.has_backups ? 1 : 0
  name  = "${var.name}-tables"
  tags  = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_backup_plan" "backup_plan" {
  count = local.has_backups ? 1 : 0
  name  = "${var.name}-tables"
  tags  = var.tags

  rule {
    rule_name         = "daily"
    target_vault_name = aws_backup_vault.backup_vault[0].name
    schedule          = "cron(0 3 * * ? *)"
    start_window      = 60

    lifecycle {
      delete_after = var.backup_days
    }
  }
}

resource "aws_backup_selection" "backup_tables" {
  count        = local.has_backups ? 1 : 0
  plan_id      = aws_backup_plan.backup_plan[0].id
  name         = "tables"
  iam_role_arn = aws_iam_role.backup_service[0].arn
  resources = [
    aws_dynamodb_table.certificates.arn,
    aws_dynamodb_table.jobs.arn,
    aws_dynamodb_table.devices.arn,
    aws_dynamodb_table.access.arn,
    aws_dynamodb_table.audit.arn,
    aws_dynamodb_table.heads.arn,
  ]
}
