# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_lambda_code_signing_config" "code_signing" {
  count       = local.has_signers ? 1 : 0
  description = "Who signs the code of Rootcast stack ${var.name}"
  tags        = var.tags

  allowed_publishers {
    signing_profile_version_arns = split(",", var.signing_profile_version_arns)
  }

  policies {
    untrusted_artifact_on_deployment = "Enforce"
  }
}
