# Devices in a private network: worker and catalog run in two private subnets and reach AWS by endpoints, without a NAT gateway.
# The endpoints cost about $75 a month. The route from this VPC to the devices (VPN, Direct Connect, peering) is yours to add.

variable "network" {
  description = "Network of the new VPC."
  type        = string
  default     = "10.20.0.0/16"
}

variable "device_networks" {
  description = "Networks in which the devices are."
  type        = list(string)
  default     = ["10.64.0.0/12"]
}

data "aws_region" "current" {}

data "aws_availability_zones" "available" {
  state = "available"
}

resource "aws_vpc" "devices" {
  cidr_block           = var.network
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = "rootcast" }
}

resource "aws_subnet" "private" {
  count             = 2
  vpc_id            = aws_vpc.devices.id
  cidr_block        = cidrsubnet(var.network, 4, count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]
  tags              = { Name = "rootcast-private-${count.index}" }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.devices.id
}

resource "aws_route_table_association" "private" {
  count          = 2
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

# Of the functions: to the devices, and to AWS by the endpoints.
resource "aws_security_group" "functions" {
  name        = "rootcast-functions"
  description = "Functions of Rootcast: HTTPS to devices and to AWS"
  vpc_id      = aws_vpc.devices.id
}

resource "aws_vpc_security_group_egress_rule" "devices" {
  for_each          = toset(var.device_networks)
  security_group_id = aws_security_group.functions.id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  security_group_id            = aws_security_group.functions.id
  referenced_security_group_id = aws_security_group.endpoints.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "dynamodb" {
  security_group_id = aws_security_group.functions.id
  prefix_list_id    = aws_vpc_endpoint.dynamodb.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_security_group" "endpoints" {
  name        = "rootcast-endpoints"
  description = "Endpoints of AWS services, for the functions of Rootcast"
  vpc_id      = aws_vpc.devices.id
}

resource "aws_vpc_security_group_ingress_rule" "functions" {
  security_group_id            = aws_security_group.endpoints.id
  referenced_security_group_id = aws_security_group.functions.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_endpoint" "dynamodb" {
  vpc_id            = aws_vpc.devices.id
  service_name      = "com.amazonaws.${data.aws_region.current.id}.dynamodb"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
}

resource "aws_vpc_endpoint" "services" {
  for_each            = toset(["sqs", "ssm", "kms", "events"])
  vpc_id              = aws_vpc.devices.id
  service_name        = "com.amazonaws.${data.aws_region.current.id}.${each.value}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true
}

module "rootcast" {
  source   = "../.."
  packages = "${path.module}/../../../../target/lambda"

  subnet_ids         = aws_subnet.private[*].id
  security_group_ids = [aws_security_group.functions.id]
  device_cidrs       = join(",", var.device_networks)
}

output "api_url" {
  value = module.rootcast.api_url
}
