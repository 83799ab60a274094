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
    info = {
      title   = var.name
      version = "1.0"
    }
    paths = merge(
      {
        "/issuingAuthorities" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/issuingAuthorities/{issuing}/compromise" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "issuing"
                in       = "path"
              },
            ]
          }
        }
        "/rollovers/preflight" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/roots/{generation}/keep" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "generation"
                in       = "path"
              },
            ]
          }
        }
        "/signingCertificate" = {
          put = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/signingcertificate" = {
          put = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/trustedCertificates" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/trustedCertificates/{id}" = {
          delete = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "id"
                in       = "path"
              },
            ]
          }
        }
        "/trustedcertificates" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/trustedcertificates/{id}" = {
          delete = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.regenerate.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "id"
                in       = "path"
              },
            ]
          }
        }
        "/.well-known/est/cacerts" = {
          get = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.catalog.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/bundle" = {
          get = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.catalog.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/crl/{signer}/{list}" = {
          get = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.catalog.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "signer"
                in       = "path"
              },
              {
                required = true
                name     = "list"
                in       = "path"
              },
            ]
          }
        }
        "/v3/scm/certificates/import" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.import.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/v3/scm/certificates/{certificate}/export" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.import.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "certificate"
                in       = "path"
              },
            ]
          }
        }
        "/vedsdk/{path+}" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.retry.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "path+"
                in       = "path"
              },
            ]
          }
        }
        "/principals" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/principals/{path+}" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "path+"
                in       = "path"
              },
            ]
          }
        }
        "/requests" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/requests/{path+}" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "path+"
                in       = "path"
              },
            ]
          }
        }
        "/rights" = {
          get = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/sessions" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
          delete = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
          get = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/sessions/iam" = {
          post = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            security = [
              {
                AWS_IAM = []
              },
            ]
            responses = {}
          }
        }
        "/sessions/{session}" = {
          delete = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "session"
                in       = "path"
              },
            ]
          }
        }
        "/vedauth/{path+}" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "path+"
                in       = "path"
              },
            ]
          }
        }
        "/console" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.console.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
          }
        }
        "/console/{path+}" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.console.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            responses = {}
            parameters = [
              {
                required = true
                name     = "path+"
                in       = "path"
              },
            ]
          }
        }
        "/$default" = {
          x-amazon-apigateway-any-method = {
            x-amazon-apigateway-integration = {
              httpMethod           = "POST"
              type                 = "aws_proxy"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.catalog.arn}/invocations"
              payloadFormatVersion = "2.0"
            }
            isDefaultRoute = true
            responses      = {}
          }
        }
      },
      { for v in local.has_oidc ? [
        {
          post = {
            security = [
              {
                Oidc = []
              },
            ]
            responses = {}
            x-amazon-apigateway-integration = {
              type                 = "aws_proxy"
              httpMethod           = "POST"
              payloadFormatVersion = "2.0"
              uri                  = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${aws_lambda_function.login.arn}/invocations"
            }
          }
        },
      ] : [] : "/sessions/oidc" => v },
    )
    components = {
      securitySchemes = merge(
        {
          AWS_IAM = {
            type                         = "apiKey"
            name                         = "Authorization"
            in                           = "header"
            x-amazon-apigateway-authtype = "awsSigv4"
          }
        },
        { for v in local.has_oidc ? [
          {
            type = "oauth2"
            x-amazon-apigateway-authorizer = {
              type           = "jwt"
              identitySource = "$request.header.Authorization"
              jwtConfiguration = {
                issuer   = var.oidc_issuer
                audience = var.oidc_audience
              }
            }
          },
        ] : [] : "Oidc" => v },
      )
    }
    tags = [
      {
        name                          = "httpapi:createdBy"
        x-amazon-apigateway-tag-value = "SAM"
      },
    ]
    servers = [
      {
        x-amazon-apigateway-endpoint-configuration = {
          disableExecuteApiEndpoint = local.has_client_certificates ? true : false
        }
      },
    ]
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
    throttling_burst_limit = 200
    throttling_rate_limit  = 100
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
