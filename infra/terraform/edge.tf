# Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py.

resource "aws_cloudfront_function" "edge_refusal" {
  count   = local.has_edge ? 1 : 0
  name    = "${var.name}-${local.region}-refusal"
  publish = true
  runtime = "cloudfront-js-2.0"
  comment = "Refuses what is not public"
  code    = "function handler(event) {\n  return { statusCode: 403, statusDescription: 'Forbidden', body: 'Only revocation lists, /bundle and /.well-known/est/cacerts are here: call the API itself.' };\n}\n"
}

resource "aws_cloudfront_distribution" "edge" {
  count           = local.has_edge ? 1 : 0
  comment         = "Revocation lists, bundle and trust anchors of Rootcast stack ${var.name}"
  enabled         = true
  http_version    = "http2and3"
  is_ipv6_enabled = true
  price_class     = "PriceClass_All"
  aliases         = local.has_edge_name ? [var.public_edge_domain_name] : null
  web_acl_id      = local.has_edge_acl ? var.public_edge_web_acl_arn : null
  tags            = var.tags

  origin {
    origin_id   = "api"
    domain_name = "${aws_apigatewayv2_api.api.id}.execute-api.${local.region}.${local.url_suffix}"

    custom_origin_config {
      origin_protocol_policy = "https-only"
      origin_ssl_protocols   = ["TLSv1.2"]
      http_port              = 80
      https_port             = 443
    }
  }

  default_cache_behavior {
    target_origin_id       = "api"
    viewer_protocol_policy = "https-only"
    allowed_methods        = ["GET", "HEAD"]
    cache_policy_id        = aws_cloudfront_cache_policy.edge_cache[0].id
    cached_methods         = ["GET", "HEAD"]

    function_association {
      event_type   = "viewer-request"
      function_arn = aws_cloudfront_function.edge_refusal[0].arn
    }
  }

  ordered_cache_behavior {
    path_pattern           = "/crl/*"
    target_origin_id       = "api"
    viewer_protocol_policy = "allow-all"
    allowed_methods        = ["GET", "HEAD"]
    cache_policy_id        = aws_cloudfront_cache_policy.edge_cache[0].id
    compress               = true
    cached_methods         = ["GET", "HEAD"]
  }

  ordered_cache_behavior {
    path_pattern           = "/bundle"
    target_origin_id       = "api"
    viewer_protocol_policy = "https-only"
    allowed_methods        = ["GET", "HEAD"]
    cache_policy_id        = aws_cloudfront_cache_policy.edge_cache[0].id
    compress               = true
    cached_methods         = ["GET", "HEAD"]
  }

  ordered_cache_behavior {
    path_pattern           = "/.well-known/est/cacerts"
    target_origin_id       = "api"
    viewer_protocol_policy = "https-only"
    allowed_methods        = ["GET", "HEAD"]
    cache_policy_id        = aws_cloudfront_cache_policy.edge_cache[0].id
    compress               = true
    cached_methods         = ["GET", "HEAD"]
  }

  viewer_certificate {
    acm_certificate_arn            = local.has_edge_name ? var.public_edge_certificate_arn : null
    ssl_support_method             = local.has_edge_name ? "sni-only" : null
    minimum_protocol_version       = local.has_edge_name ? "TLSv1.2_2021" : null
    cloudfront_default_certificate = !local.has_edge_name ? true : null
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }
}

resource "aws_cloudfront_cache_policy" "edge_cache" {
  count       = local.has_edge ? 1 : 0
  name        = "${var.name}-${local.region}-public"
  min_ttl     = 0
  default_ttl = 0
  max_ttl     = 86400

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_gzip   = true
    enable_accept_encoding_brotli = true

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    query_strings_config {
      query_string_behavior = "none"
    }
  }
}
