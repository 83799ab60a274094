"""Compares the role that deploys (infra/deployment.yaml) with what the template makes."""

import json

from samtranslator.yaml_helper import yaml_parse

from checks import check
from sources import ROOT
from template import listed, text

# Type → what makes, changes and deletes it. One of a type without a row would fail at its first deployment.
MAKES = {
    "ApiGatewayV2::Api": "apigateway:POST apigateway:PUT apigateway:PATCH apigateway:DELETE",
    "ApiGatewayV2::ApiMapping": "apigateway:POST apigateway:PATCH apigateway:DELETE",
    "ApiGatewayV2::DomainName": "apigateway:POST apigateway:PATCH apigateway:DELETE",
    "ApiGatewayV2::Stage": "apigateway:POST apigateway:PATCH apigateway:DELETE logs:CreateLogDelivery",
    "Backup::BackupPlan": "backup:CreateBackupPlan backup:UpdateBackupPlan backup:DeleteBackupPlan",
    "Backup::BackupSelection": "backup:CreateBackupSelection backup:DeleteBackupSelection iam:PassRole",
    "Backup::BackupVault": "backup:CreateBackupVault backup:DeleteBackupVault backup-storage:MountCapsule",
    "CloudFront::CachePolicy": "cloudfront:CreateCachePolicy cloudfront:UpdateCachePolicy cloudfront:DeleteCachePolicy",
    "CloudFront::Distribution": "cloudfront:CreateDistribution cloudfront:UpdateDistribution cloudfront:DeleteDistribution",
    "CloudFront::Function": "cloudfront:CreateFunction cloudfront:UpdateFunction cloudfront:PublishFunction cloudfront:DeleteFunction",
    "CloudWatch::Alarm": "cloudwatch:PutMetricAlarm cloudwatch:DeleteAlarms",
    "CloudWatch::Dashboard": "cloudwatch:PutDashboard cloudwatch:DeleteDashboards",
    "DynamoDB::Table": "dynamodb:CreateTable dynamodb:UpdateTable dynamodb:UpdateTimeToLive dynamodb:UpdateContinuousBackups dynamodb:DeleteTable",
    "EC2::SecurityGroup": "ec2:CreateSecurityGroup ec2:AuthorizeSecurityGroupIngress ec2:DeleteSecurityGroup",
    "EC2::VPCEndpoint": "ec2:CreateVpcEndpoint ec2:ModifyVpcEndpoint ec2:DeleteVpcEndpoints",
    "Events::EventBus": "events:CreateEventBus events:DeleteEventBus",
    "Events::EventBusPolicy": "events:PutPermission events:RemovePermission",
    "Events::Rule": "events:PutRule events:PutTargets events:RemoveTargets events:DeleteRule",
    "IAM::ManagedPolicy": "iam:CreatePolicy iam:CreatePolicyVersion iam:DeletePolicy",
    "IAM::Role": "iam:CreateRole iam:PutRolePolicy iam:AttachRolePolicy iam:PutRolePermissionsBoundary iam:DeleteRole",
    "KMS::Key": "kms:CreateKey kms:PutKeyPolicy kms:EnableKeyRotation kms:ScheduleKeyDeletion",
    "Lambda::CodeSigningConfig": "lambda:CreateCodeSigningConfig lambda:UpdateCodeSigningConfig lambda:DeleteCodeSigningConfig",
    "Lambda::EventInvokeConfig": "lambda:PutFunctionEventInvokeConfig lambda:DeleteFunctionEventInvokeConfig",
    "Lambda::EventSourceMapping": "lambda:CreateEventSourceMapping lambda:UpdateEventSourceMapping lambda:DeleteEventSourceMapping",
    "Lambda::Function": "lambda:CreateFunction lambda:UpdateFunctionCode lambda:PutFunctionRecursionConfig lambda:PutFunctionConcurrency iam:PassRole s3:GetObject lambda:DeleteFunction",
    "Lambda::Permission": "lambda:AddPermission lambda:RemovePermission",
    "Logs::LogGroup": "logs:CreateLogGroup logs:PutRetentionPolicy logs:AssociateKmsKey logs:DeleteLogGroup",
    "Logs::MetricFilter": "logs:PutMetricFilter logs:DeleteMetricFilter",
    "SNS::Subscription": "sns:Subscribe sns:Unsubscribe",
    "SNS::Topic": "sns:CreateTopic sns:DeleteTopic",
    "SNS::TopicPolicy": "sns:SetTopicAttributes",
    "SQS::Queue": "sqs:CreateQueue sqs:SetQueueAttributes sqs:DeleteQueue",
    "SQS::QueuePolicy": "sqs:SetQueueAttributes",
}
# Statements on every resource, each with a comment there: what they make has no name before.
EVERY = {"Mappings", "ReadMappings", "Signers", "MakeKeys", "LogDelivery", "Subscription", "Vaults", "Network", "Edge", "Look", "NotTheKeysOfRoots"}
LARGEST = 6144  # characters without white space: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html


def policies():
    resources = yaml_parse((ROOT / "infra/deployment.yaml").read_text())["Resources"]
    return {name: each["Properties"]["PolicyDocument"] for name, each in resources.items() if each["Type"] == "AWS::IAM::ManagedPolicy"}


@check
def the_deployment_role_makes_what_is_here(template, documents=None):
    documents = documents or policies()
    statements = [statement for name, document in documents.items() if name != "Deployer" for statement in document["Statement"]]
    allowed = {action for statement in statements if statement["Effect"] == "Allow" for action in listed(statement["Action"])}
    for kind in sorted({each["Type"].removeprefix("AWS::") for each in template.resources.values()}):
        for action in MAKES.get(kind, "").split() or ["it: no row in MAKES"]:
            if action not in allowed:
                yield f"{kind}: the deployment role may not {action}"
    for name, document in documents.items():
        if len("".join(json.dumps(document).split())) > LARGEST:
            yield f"{name} is larger than a managed policy may be"
        for statement in document["Statement"]:
            if "*" in listed(statement["Resource"]) and statement["Sid"] not in EVERY:
                yield f"{name}, statement {statement['Sid']}: on every resource"
            if any(action.startswith("iam:") for action in listed(statement["Action"])):
                ours = all("${Stack}" in text(each) or "Fn::GetAtt" in each for each in listed(statement["Resource"]))
                if not ours or statement.get("Condition") is None and "iam:PassRole" in listed(statement["Action"]):
                    yield f"{name}, statement {statement['Sid']}: roles of others"
    guarded = [s for s in statements if s["Effect"] == "Deny" and s["Action"] == "kms:*" and s["Condition"] == {"Null": {"aws:ResourceTag/rootcast:generation": "false"}}]
    if not guarded:
        yield "whoever deploys may change the policies of roots' keys"
