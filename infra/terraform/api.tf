# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_cloudwatch_log_group" "api_logs" {
  name              = "/aws/vendedlogs/${var.name}-api"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.has_customer_keys ? aws_kms_key.logs_key[0].arn : null
  tags              = var.tags
}

resource "aws_apigatewayv2_api" "api" {
  name = var.name
  body = jsonencode({
    openapi = "3.0.1"
    info    = { title = var.name, version = "1.0" }
    servers = [
      {
        url                                        = local.has_api_name ? "https://${var.api_domain_name}" : "https://execute-api.${local.region}.${local.url_suffix}"
        x-amazon-apigateway-endpoint-configuration = { disableExecuteApiEndpoint = local.has_client_certificates ? true : false }
      },
    ]
    paths = merge(
      {
        "/$default" = {
          x-amazon-apigateway-any-method = {
            isDefaultRoute                  = true
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/.well-known/est/cacerts" = {
          get = {
            operationId                     = "cacerts"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/aicc" = {
          get = {
            operationId                     = "about"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/audit/denials" = {
          get = {
            operationId                     = "denialAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/audit/heads" = {
          get = {
            operationId                     = "auditHeads"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/audit/policies" = {
          get = {
            operationId                     = "policyAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/audit/principals" = {
          get = {
            operationId                     = "principalAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/audit/requests" = {
          get = {
            operationId                     = "requestAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/bundle" = {
          get = {
            operationId                     = "bundle"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/certificatepolicy" = {
          get = {
            operationId                     = "policy"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          put = {
            operationId                     = "choosePolicy"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/certificates/revocation" = {
          post = {
            operationId                     = "revokeSigned"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/certificates/signed" = {
          get = {
            operationId                     = "signed"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/certificates/{certificate}/audit" = {
          parameters = [{ name = "certificate", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "certificateAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/chassis" = {
          get = {
            operationId                     = "chassis"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/cmms" = {
          get = {
            operationId                     = "cmms"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/console" = {
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Console" }
          }
        }
        "/console/{path+}" = {
          parameters = [{ name = "path+", in = "path", required = true, schema = { type = "string" } }]
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Console" }
          }
        }
        "/crl/{signer}/{list}" = {
          parameters = [
            { name = "signer", in = "path", required = true, schema = { type = "string" } },
            { name = "list", in = "path", required = true, schema = { type = "string" } },
          ]
          get = {
            operationId                     = "crl"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices" = {
          get = {
            operationId                     = "devices"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          post = {
            operationId                     = "enrol"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices/{device}" = {
          parameters = [{ name = "device", in = "path", required = true, schema = { type = "string" } }]
          delete = {
            operationId                     = "deleteDevice"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          get = {
            operationId                     = "device"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          patch = {
            operationId                     = "editDevice"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices/{device}/approval" = {
          parameters = [{ name = "device", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "approveDevice"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices/{device}/audit" = {
          parameters = [{ name = "device", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "deviceAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices/{device}/certificate" = {
          parameters = [{ name = "device", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "ownCertificate"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          post = {
            operationId                     = "renewOwn"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices/{device}/certificate/request" = {
          parameters = [{ name = "device", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "signRequest"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices/{device}/fingerprint" = {
          parameters = [{ name = "device", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "fingerprint"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/devices/{device}/probe" = {
          parameters = [{ name = "device", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "probe"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/fanmuxes" = {
          get = {
            operationId                     = "fanMuxes"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/fans" = {
          get = {
            operationId                     = "fans"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/issuancepolicy" = {
          get = {
            operationId                     = "issuancePolicy"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          put = {
            operationId                     = "setIssuancePolicy"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/issuingAuthorities" = {
          get = {
            operationId                     = "issuing"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          post = {
            operationId                     = "rotateIssuing"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/issuingAuthorities/{issuing}/compromise" = {
          parameters = [{ name = "issuing", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "revokeIssuing"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/jobs" = {
          get = {
            operationId                     = "jobList"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "job"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/abort" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "abortJob"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/audit" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "jobAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/continue" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "continueJob"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/pause" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "pause"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/resume" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "resume"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/retry" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "retryJob"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/rollback" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "rollBack"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/tasks" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "jobTasks"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/jobs/{job}/waive" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "waive"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/nodes" = {
          get = {
            operationId                     = "nodes"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/openapi.json" = {
          get = {
            operationId                     = "openapi"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/powersupplies" = {
          get = {
            operationId                     = "powerSupplies"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/principals" = {
          get = {
            operationId                     = "principals"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
          post = {
            operationId                     = "addPrincipal"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/principals/{name}" = {
          parameters = [{ name = "name", in = "path", required = true, schema = { type = "string" } }]
          delete = {
            operationId                     = "removePrincipal"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
          get = {
            operationId                     = "principal"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/principals/{name}/password" = {
          parameters = [{ name = "name", in = "path", required = true, schema = { type = "string" } }]
          put = {
            operationId                     = "changePassword"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/principals/{path+}" = {
          parameters = [{ name = "path+", in = "path", required = true, schema = { type = "string" } }]
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/requests" = {
          get = {
            operationId                     = "requests"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/requests/{path+}" = {
          parameters = [{ name = "path+", in = "path", required = true, schema = { type = "string" } }]
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/requests/{request}" = {
          parameters = [{ name = "request", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "request"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/requests/{request}/confirm" = {
          parameters = [{ name = "request", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "confirm"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/requests/{request}/reject" = {
          parameters = [{ name = "request", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "reject"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/rights" = {
          get = {
            operationId                     = "rights"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/rollouts" = {
          get = {
            operationId                     = "rollouts"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/rollouts/{name}" = {
          parameters = [{ name = "name", in = "path", required = true, schema = { type = "string" } }]
          delete = {
            operationId                     = "deleteRollout"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          get = {
            operationId                     = "rollout"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          put = {
            operationId                     = "storeRollout"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/rollovers/preflight" = {
          post = {
            operationId                     = "preflight"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/roots/{generation}/audit" = {
          parameters = [{ name = "generation", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "rootAudit"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/roots/{generation}/keep" = {
          parameters = [{ name = "generation", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "keepRoot"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/sessions" = {
          delete = {
            operationId                     = "endSession"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
          get = {
            operationId                     = "sessions"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
          post = {
            operationId                     = "beginSession"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/sessions/iam" = {
          post = {
            operationId                     = "ofIam"
            security                        = [{ AWS_IAM = [] }]
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/sessions/{session}" = {
          parameters = [{ name = "session", in = "path", required = true, schema = { type = "string" } }]
          delete = {
            operationId                     = "endOnesSession"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/signingCertificate" = {
          get = {
            operationId                     = "root"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          put = {
            operationId                     = "regenerate"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/signingCertificate/details" = {
          get = {
            operationId                     = "rootDetails"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/signingCertificate/jobs" = {
          get = {
            operationId                     = "rootJobs"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/signingCertificate/jobs/{job}" = {
          parameters = [{ name = "job", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "rootJob"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/signingcertificate" = {
          put = {
            operationId                     = "regenerateLower"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/storedcredentials" = {
          get = {
            operationId                     = "storedCredentials"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/switches" = {
          get = {
            operationId                     = "switches"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/tasks" = {
          get = {
            operationId                     = "taskList"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          put = {
            operationId                     = "cancelTasks"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/tasks/{jobs}" = {
          parameters = [{ name = "jobs", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "tasks"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/trustedCertificates" = {
          get = {
            operationId                     = "trustedList"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          post = {
            operationId                     = "trust"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/trustedCertificates/details" = {
          get = {
            operationId                     = "trustedDetails"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/trustedCertificates/details/{id}" = {
          parameters = [{ name = "id", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "trustedDetail"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/trustedCertificates/{id}" = {
          parameters = [{ name = "id", in = "path", required = true, schema = { type = "string" } }]
          delete = {
            operationId                     = "distrust"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
          get = {
            operationId                     = "trusted"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/trustedcertificates" = {
          post = {
            operationId                     = "trustLower"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/trustedcertificates/{id}" = {
          parameters = [{ name = "id", in = "path", required = true, schema = { type = "string" } }]
          delete = {
            operationId                     = "distrustLower"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Regenerate" }
          }
        }
        "/useraccounts" = {
          get = {
            operationId                     = "users"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/v3/scm/certificates" = {
          get = {
            operationId                     = "scmList"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/v3/scm/certificates/import" = {
          post = {
            operationId                     = "scmImport"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Import" }
          }
        }
        "/v3/scm/certificates/{id}" = {
          parameters = [{ name = "id", in = "path", required = true, schema = { type = "string" } }]
          delete = {
            operationId                     = "scmDelete"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
          get = {
            operationId                     = "scmShow"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/v3/scm/certificates/{id}/deploy" = {
          parameters = [{ name = "id", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "scmDeploy"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/v3/scm/certificates/{id}/export" = {
          parameters = [{ name = "id", in = "path", required = true, schema = { type = "string" } }]
          post = {
            operationId                     = "scmExport"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Import" }
          }
        }
        "/v3/scm/deployed-resources" = {
          post = {
            operationId                     = "scmDeployed"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Catalog" }
          }
        }
        "/vedauth/authorize/oauth" = {
          post = {
            operationId                     = "logIn"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/vedauth/authorize/token" = {
          post = {
            operationId                     = "exchange"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/vedauth/authorize/verify" = {
          get = {
            operationId                     = "verify"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/vedauth/revoke/token" = {
          get = {
            operationId                     = "logOut"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/vedauth/{path+}" = {
          parameters = [{ name = "path+", in = "path", required = true, schema = { type = "string" } }]
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        }
        "/vedsdk/certificates" = {
          get = {
            operationId                     = "list"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/associate" = {
          post = {
            operationId                     = "associate"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/dissociate" = {
          post = {
            operationId                     = "dissociate"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/push" = {
          post = {
            operationId                     = "push"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/renew" = {
          post = {
            operationId                     = "renew"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/reset" = {
          post = {
            operationId                     = "reset"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/retrieve" = {
          get = {
            operationId                     = "download"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
          post = {
            operationId                     = "retrieve"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/retry" = {
          post = {
            operationId                     = "retry"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/revoke" = {
          post = {
            operationId                     = "revoke"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/certificates/{guid}" = {
          parameters = [{ name = "guid", in = "path", required = true, schema = { type = "string" } }]
          get = {
            operationId                     = "show"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/config/dntoguid" = {
          post = {
            operationId                     = "dnToGuid"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/systemstatus/version" = {
          get = {
            operationId                     = "version"
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
        "/vedsdk/{path+}" = {
          parameters = [{ name = "path+", in = "path", required = true, schema = { type = "string" } }]
          x-amazon-apigateway-any-method = {
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Retry" }
          }
        }
      },
      { for v in local.has_oidc ? [
        {
          post = {
            operationId                     = "ofOidc"
            security                        = [{ Oidc = [] }]
            responses                       = { default = { description = "JSON" } }
            x-amazon-apigateway-integration = { "$ref" = "#/components/x-amazon-apigateway-integrations/Access" }
          }
        },
      ] : [] : "/sessions/oidc" => v },
    )
    components = {
      x-amazon-apigateway-integrations = {
        Access = {
          type                 = "aws_proxy"
          httpMethod           = "POST"
          payloadFormatVersion = "2.0"
          uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
        }
        Catalog = {
          type                 = "aws_proxy"
          httpMethod           = "POST"
          payloadFormatVersion = "2.0"
          uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.catalog.arn}/invocations"
        }
        Console = {
          type                 = "aws_proxy"
          httpMethod           = "POST"
          payloadFormatVersion = "2.0"
          uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.console.arn}/invocations"
        }
        Import = {
          type                 = "aws_proxy"
          httpMethod           = "POST"
          payloadFormatVersion = "2.0"
          uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.import.arn}/invocations"
        }
        Regenerate = {
          type                 = "aws_proxy"
          httpMethod           = "POST"
          payloadFormatVersion = "2.0"
          uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
        }
        Retry = {
          type                 = "aws_proxy"
          httpMethod           = "POST"
          payloadFormatVersion = "2.0"
          uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.retry.arn}/invocations"
        }
      }
      securitySchemes = merge(
        {
          AWS_IAM = { type = "apiKey", name = "Authorization", in = "header", x-amazon-apigateway-authtype = "awsSigv4" }
        },
        { for v in local.has_oidc ? [
          {
            type = "oauth2"
            x-amazon-apigateway-authorizer = {
              type             = "jwt"
              identitySource   = "$request.header.Authorization"
              jwtConfiguration = { issuer = var.oidc_issuer, audience = var.oidc_audience }
            }
          },
        ] : [] : "Oidc" => v },
      )
    }
    tags = [{ name = "httpapi:createdBy", x-amazon-apigateway-tag-value = "SAM" }]
  })
  fail_on_warnings = true
  protocol_type    = "HTTP"
  tags             = var.tags
}

resource "aws_apigatewayv2_stage" "api_api_gateway_default_stage" {
  api_id      = aws_apigatewayv2_api.api.id
  name        = "$default"
  auto_deploy = true
  tags        = var.tags

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.api_logs.arn
    format          = "{\"requestId\":\"$context.requestId\",\"time\":\"$context.requestTime\",\"ip\":\"$context.identity.sourceIp\",\"method\":\"$context.httpMethod\",\"path\":\"$context.path\",\"route\":\"$context.routeKey\",\"status\":\"$context.status\",\"latency\":\"$context.responseLatency\",\"length\":\"$context.responseLength\",\"error\":\"$context.integrationErrorMessage\"}"
  }

  default_route_settings {
    throttling_burst_limit = 100
    throttling_rate_limit  = 40
  }

  route_settings {
    route_key              = "GET /crl/{signer}/{list}"
    throttling_burst_limit = 600
    throttling_rate_limit  = 300
  }

  route_settings {
    route_key              = "GET /bundle"
    throttling_burst_limit = 600
    throttling_rate_limit  = 300
  }

  route_settings {
    route_key              = "GET /.well-known/est/cacerts"
    throttling_burst_limit = 100
    throttling_rate_limit  = 50
  }

  route_settings {
    route_key              = "ANY /vedsdk/{path+}"
    throttling_burst_limit = 200
    throttling_rate_limit  = 100
  }

  route_settings {
    route_key              = "$default"
    throttling_burst_limit = 200
    throttling_rate_limit  = 100
  }
}

resource "aws_apigatewayv2_domain_name" "api_name" {
  count       = local.has_api_name ? 1 : 0
  domain_name = var.api_domain_name
  tags        = var.tags

  domain_name_configuration {
    certificate_arn = var.api_certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }

  dynamic "mutual_tls_authentication" {
    for_each = local.has_client_certificates ? [true] : []

    content {
      truststore_uri = var.api_truststore_uri
    }
  }
}

resource "aws_apigatewayv2_api_mapping" "api_name_mapping" {
  count       = local.has_api_name ? 1 : 0
  api_id      = aws_apigatewayv2_api.api.id
  domain_name = aws_apigatewayv2_domain_name.api_name[0].domain_name
  stage       = aws_apigatewayv2_stage.api_api_gateway_default_stage.name
}
