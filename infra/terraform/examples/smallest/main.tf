# The smallest installation: devices with public addresses, alarms in CloudWatch only. About $6 a month when idle.

module "rootcast" {
  source   = "../.."
  packages = "${path.module}/../../../../target/lambda"
}

output "api_url" {
  value = module.rootcast.api_url
}
