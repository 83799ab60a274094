"""Each resource type of the template as Terraform's. A type or property without a line here is refused, and so fails the test."""

from dataclasses import dataclass, field

from hcl import Block
from shapes import (
    Alone,
    Attached,
    Attribute,
    BusStatement,
    BusStatementId,
    Children,
    Document,
    Flat,
    Keyed,
    Keys,
    LogDestination,
    Nested,
    One,
    Package,
    Pairs,
    Queues,
    Recursion,
    RoleOfFunction,
    Same,
    Tags,
    Traffic,
)


@dataclass
class Kind:
    type: str
    ref: str  # the attribute that CloudFormation's Ref gives
    given: dict
    attributes: dict = field(default_factory=dict)  # of GetAtt, other than Arn
    name: str = ""  # the attribute for a name where CloudFormation makes one up
    of_account: bool = False  # the name is one of the account, not of the region
    tagged: bool = True
    always: list = field(default_factory=list)  # what Terraform demands, and CloudFormation takes for granted


def attributes(text):
    """Property=attribute, separated by blanks."""
    return {key: Attribute(name) for key, name in (pair.split("=") for pair in text.split())}


# Of a security group's rule.
TRAFFIC = {
    **attributes("Description=description IpProtocol=protocol FromPort=from_port ToPort=to_port"),
    "CidrIp": Alone("cidr_blocks"),
    "CidrIpv6": Alone("ipv6_cidr_blocks"),
    "SourceSecurityGroupId": Alone("security_groups"),
}
# Of CloudFront.
BEHAVIOR = {
    **attributes(
        "PathPattern=path_pattern TargetOriginId=target_origin_id ViewerProtocolPolicy=viewer_protocol_policy AllowedMethods=allowed_methods "
        "CachePolicyId=cache_policy_id OriginRequestPolicyId=origin_request_policy_id Compress=compress"
    ),
    "FunctionAssociations": Nested("function_association", attributes("EventType=event_type FunctionARN=function_arn"), several=True),
}
CACHED = [("cached_methods", ["GET", "HEAD"])]

ROUTE = attributes(
    "ThrottlingBurstLimit=throttling_burst_limit ThrottlingRateLimit=throttling_rate_limit DetailedMetricsEnabled=detailed_metrics_enabled"
)

KINDS = {
    "AWS::ApiGatewayV2::Api": Kind(
        "aws_apigatewayv2_api",
        ref="id",
        name="name",
        given={
            "Body": Document("body", dense=True),  # a route has many small parts
            **attributes("Description=description DisableExecuteApiEndpoint=disable_execute_api_endpoint FailOnWarnings=fail_on_warnings"),
        },
        attributes={"ApiEndpoint": "api_endpoint"},
        always=[("protocol_type", "HTTP")],
    ),
    "AWS::ApiGatewayV2::ApiMapping": Kind(
        "aws_apigatewayv2_api_mapping",
        ref="id",
        tagged=False,
        given=attributes("ApiId=api_id DomainName=domain_name Stage=stage ApiMappingKey=api_mapping_key"),
    ),
    "AWS::ApiGatewayV2::DomainName": Kind(
        "aws_apigatewayv2_domain_name",
        ref="domain_name",
        attributes={"RegionalDomainName": "domain_name_configuration[0].target_domain_name"},
        given={
            "DomainName": Attribute("domain_name"),
            "DomainNameConfigurations": Nested(
                "domain_name_configuration",
                attributes("CertificateArn=certificate_arn EndpointType=endpoint_type SecurityPolicy=security_policy IpAddressType=ip_address_type"),
                several=True,
            ),
            "MutualTlsAuthentication": Nested(
                "mutual_tls_authentication", attributes("TruststoreUri=truststore_uri TruststoreVersion=truststore_version")
            ),
        },
    ),
    "AWS::ApiGatewayV2::Stage": Kind(
        "aws_apigatewayv2_stage",
        ref="name",
        given={
            **attributes("ApiId=api_id StageName=name AutoDeploy=auto_deploy"),
            "AccessLogSettings": Nested("access_log_settings", {"DestinationArn": LogDestination("destination_arn"), "Format": Attribute("format")}),
            "DefaultRouteSettings": Nested("default_route_settings", ROUTE),
            "RouteSettings": Keyed("route_settings", "route_key", ROUTE),
            "Tags": Tags(),
        },
    ),
    "AWS::Backup::BackupPlan": Kind(
        "aws_backup_plan",
        ref="id",
        given={
            "BackupPlan": Flat(
                {
                    "BackupPlanName": Attribute("name"),
                    "BackupPlanRule": Nested(
                        "rule",
                        {
                            **attributes(
                                "RuleName=rule_name TargetBackupVault=target_vault_name ScheduleExpression=schedule "
                                "StartWindowMinutes=start_window CompletionWindowMinutes=completion_window"
                            ),
                            "Lifecycle": Nested("lifecycle", attributes("DeleteAfterDays=delete_after")),
                        },
                        several=True,
                    ),
                }
            )
        },
    ),
    "AWS::Backup::BackupSelection": Kind(
        "aws_backup_selection",
        ref="id",
        tagged=False,
        given={
            "BackupPlanId": Attribute("plan_id"),
            "BackupSelection": Flat(attributes("SelectionName=name IamRoleArn=iam_role_arn Resources=resources")),
        },
    ),
    "AWS::Backup::BackupVault": Kind(
        "aws_backup_vault",
        ref="name",
        attributes={"BackupVaultArn": "arn"},
        given=attributes("BackupVaultName=name EncryptionKeyArn=kms_key_arn"),
    ),
    "AWS::CloudFront::CachePolicy": Kind(
        "aws_cloudfront_cache_policy",
        ref="id",
        tagged=False,
        given={
            "CachePolicyConfig": Flat(
                {
                    **attributes("Name=name Comment=comment MinTTL=min_ttl DefaultTTL=default_ttl MaxTTL=max_ttl"),
                    "ParametersInCacheKeyAndForwardedToOrigin": Nested(
                        "parameters_in_cache_key_and_forwarded_to_origin",
                        {
                            **attributes(
                                "EnableAcceptEncodingGzip=enable_accept_encoding_gzip EnableAcceptEncodingBrotli=enable_accept_encoding_brotli"
                            ),
                            "CookiesConfig": Nested("cookies_config", attributes("CookieBehavior=cookie_behavior")),
                            "HeadersConfig": Nested("headers_config", attributes("HeaderBehavior=header_behavior")),
                            "QueryStringsConfig": Nested("query_strings_config", attributes("QueryStringBehavior=query_string_behavior")),
                        },
                    ),
                }
            )
        },
    ),
    "AWS::CloudFront::Distribution": Kind(
        "aws_cloudfront_distribution",
        ref="id",
        attributes={"DomainName": "domain_name"},
        given={
            "DistributionConfig": Flat(
                {
                    **attributes(
                        "Comment=comment Enabled=enabled HttpVersion=http_version IPV6Enabled=is_ipv6_enabled PriceClass=price_class "
                        "Aliases=aliases WebACLId=web_acl_id"
                    ),
                    "Origins": Nested(
                        "origin",
                        {
                            **attributes("Id=origin_id DomainName=domain_name"),
                            "CustomOriginConfig": Nested(
                                "custom_origin_config",
                                attributes("OriginProtocolPolicy=origin_protocol_policy OriginSSLProtocols=origin_ssl_protocols"),
                                always=[("http_port", 80), ("https_port", 443)],
                            ),
                        },
                        several=True,
                    ),
                    "DefaultCacheBehavior": Nested("default_cache_behavior", BEHAVIOR, always=CACHED),
                    "CacheBehaviors": Nested("ordered_cache_behavior", BEHAVIOR, several=True, always=CACHED),
                    "ViewerCertificate": Nested(
                        "viewer_certificate",
                        attributes(
                            "AcmCertificateArn=acm_certificate_arn SslSupportMethod=ssl_support_method "
                            "MinimumProtocolVersion=minimum_protocol_version CloudFrontDefaultCertificate=cloudfront_default_certificate"
                        ),
                    ),
                }
            )
        },
        always=[Block("restrictions", [], [Block("geo_restriction", [], [("restriction_type", "none")])])],
    ),
    "AWS::CloudFront::Function": Kind(
        "aws_cloudfront_function",
        ref="arn",
        attributes={"FunctionARN": "arn"},
        tagged=False,
        given={
            **attributes("Name=name AutoPublish=publish"),
            "FunctionConfig": Flat(attributes("Runtime=runtime Comment=comment")),
            "FunctionCode": Attribute("code"),
        },
    ),
    "AWS::CloudWatch::Alarm": Kind(
        "aws_cloudwatch_metric_alarm",
        ref="alarm_name",
        name="alarm_name",
        given={
            **attributes("AlarmName=alarm_name AlarmDescription=alarm_description Namespace=namespace MetricName=metric_name"),
            "Dimensions": Pairs("dimensions"),
            **attributes(
                "Statistic=statistic ExtendedStatistic=extended_statistic Period=period EvaluationPeriods=evaluation_periods "
                "DatapointsToAlarm=datapoints_to_alarm Threshold=threshold ComparisonOperator=comparison_operator "
                "TreatMissingData=treat_missing_data Unit=unit ActionsEnabled=actions_enabled AlarmActions=alarm_actions OKActions=ok_actions "
                "InsufficientDataActions=insufficient_data_actions"
            ),
            "Metrics": Nested(
                "metric_query",
                {
                    **attributes("Id=id Expression=expression Label=label ReturnData=return_data Period=period"),
                    "MetricStat": Nested(
                        "metric",
                        {
                            "Metric": Flat({**attributes("Namespace=namespace MetricName=metric_name"), "Dimensions": Pairs("dimensions")}),
                            **attributes("Period=period Stat=stat Unit=unit"),
                        },
                    ),
                },
                several=True,
            ),
        },
    ),
    "AWS::CloudWatch::Dashboard": Kind(
        "aws_cloudwatch_dashboard",
        ref="dashboard_name",
        tagged=False,
        given=attributes("DashboardName=dashboard_name DashboardBody=dashboard_body"),
    ),
    "AWS::DynamoDB::Table": Kind(
        "aws_dynamodb_table",
        ref="name",
        name="name",
        given={
            **attributes("TableName=name BillingMode=billing_mode"),
            "KeySchema": Keys(),
            **attributes("DeletionProtectionEnabled=deletion_protection_enabled TableClass=table_class"),
            "AttributeDefinitions": Nested("attribute", attributes("AttributeName=name AttributeType=type"), several=True),
            "GlobalSecondaryIndexes": Nested(
                "global_secondary_index",
                {
                    "IndexName": Attribute("name"),
                    "KeySchema": Keys(),
                    "Projection": Flat(attributes("ProjectionType=projection_type NonKeyAttributes=non_key_attributes")),
                },
                several=True,
            ),
            "TimeToLiveSpecification": Nested("ttl", attributes("AttributeName=attribute_name Enabled=enabled")),
            "PointInTimeRecoverySpecification": Nested(
                "point_in_time_recovery",
                attributes("PointInTimeRecoveryEnabled=enabled RecoveryPeriodInDays=recovery_period_in_days"),
            ),
            "SSESpecification": Nested(
                "server_side_encryption",
                {
                    **attributes("SSEEnabled=enabled KMSMasterKeyId=kms_key_arn"),
                    "SSEType": Same("KMS", "the provider knows no other type"),
                },
            ),
        },
    ),
    "AWS::EC2::SecurityGroup": Kind(
        "aws_security_group",
        ref="id",
        name="name",
        attributes={"GroupId": "id"},
        given={
            **attributes("GroupName=name GroupDescription=description VpcId=vpc_id"),
            "SecurityGroupIngress": Traffic("ingress", TRAFFIC, several=True),
            "SecurityGroupEgress": Traffic("egress", TRAFFIC, several=True),
        },
    ),
    "AWS::EC2::VPCEndpoint": Kind(
        "aws_vpc_endpoint",
        ref="id",
        given={
            **attributes(
                "VpcId=vpc_id VpcEndpointType=vpc_endpoint_type ServiceName=service_name PrivateDnsEnabled=private_dns_enabled "
                "RouteTableIds=route_table_ids SubnetIds=subnet_ids SecurityGroupIds=security_group_ids IpAddressType=ip_address_type"
            ),
            "PolicyDocument": Document("policy"),
        },
    ),
    "AWS::Events::EventBus": Kind(
        "aws_cloudwatch_event_bus",
        ref="name",
        name="name",
        given=attributes("Name=name Description=description KmsKeyIdentifier=kms_key_identifier"),
    ),
    "AWS::Events::EventBusPolicy": Kind(
        "aws_cloudwatch_event_bus_policy",
        ref="id",
        tagged=False,
        given={"EventBusName": Attribute("event_bus_name"), "StatementId": BusStatementId(), "Statement": BusStatement()},
    ),
    "AWS::Events::Rule": Kind(
        "aws_cloudwatch_event_rule",
        ref="name",
        name="name",
        given={
            **attributes("Name=name Description=description EventBusName=event_bus_name ScheduleExpression=schedule_expression State=state"),
            "EventPattern": Document("event_pattern"),
            "Targets": Children(
                "aws_cloudwatch_event_target",
                {
                    **attributes("Id=target_id Arn=arn Input=input RoleArn=role_arn"),
                    "DeadLetterConfig": Nested("dead_letter_config", attributes("Arn=arn")),
                    "RetryPolicy": Nested(
                        "retry_policy",
                        attributes("MaximumEventAgeInSeconds=maximum_event_age_in_seconds MaximumRetryAttempts=maximum_retry_attempts"),
                    ),
                },
                own={"rule": "{at}.name", "event_bus_name": "{at}.event_bus_name"},
                label="Id",
            ),
        },
    ),
    "AWS::IAM::ManagedPolicy": Kind(
        "aws_iam_policy",
        ref="arn",
        name="name",
        of_account=True,
        given={
            **attributes("ManagedPolicyName=name Path=path Description=description"),
            "PolicyDocument": Document("policy"),
        },
    ),
    "AWS::IAM::Role": Kind(
        "aws_iam_role",
        ref="name",
        name="name",
        of_account=True,
        attributes={"RoleId": "unique_id"},
        given={
            **attributes(
                "RoleName=name Path=path Description=description PermissionsBoundary=permissions_boundary MaxSessionDuration=max_session_duration"
            ),
            "AssumeRolePolicyDocument": Document("assume_role_policy"),
            "Policies": Children(
                "aws_iam_role_policy",
                {"PolicyName": Attribute("name"), "PolicyDocument": Document("policy")},
                own={"role": "{at}.name"},
                label="PolicyName",
            ),
            "ManagedPolicyArns": Attached(),
        },
    ),
    "AWS::KMS::Key": Kind(
        "aws_kms_key",
        ref="key_id",
        given={
            **attributes(
                "Description=description KeySpec=customer_master_key_spec KeyUsage=key_usage MultiRegion=multi_region Enabled=is_enabled "
                "EnableKeyRotation=enable_key_rotation RotationPeriodInDays=rotation_period_in_days PendingWindowInDays=deletion_window_in_days"
            ),
            "KeyPolicy": Document("policy"),
        },
    ),
    "AWS::Lambda::CodeSigningConfig": Kind(
        "aws_lambda_code_signing_config",
        ref="arn",
        attributes={"CodeSigningConfigArn": "arn"},
        given={
            "Description": Attribute("description"),
            "AllowedPublishers": Nested("allowed_publishers", attributes("SigningProfileVersionArns=signing_profile_version_arns")),
            "CodeSigningPolicies": Nested("policies", attributes("UntrustedArtifactOnDeployment=untrusted_artifact_on_deployment")),
        },
    ),
    "AWS::Lambda::EventInvokeConfig": Kind(
        "aws_lambda_function_event_invoke_config",
        ref="id",
        tagged=False,
        given={
            **attributes(
                "FunctionName=function_name Qualifier=qualifier MaximumEventAgeInSeconds=maximum_event_age_in_seconds "
                "MaximumRetryAttempts=maximum_retry_attempts"
            ),
            "DestinationConfig": Nested("destination_config", {"OnFailure": Nested("on_failure", attributes("Destination=destination"))}),
        },
    ),
    "AWS::Lambda::EventSourceMapping": Kind(
        "aws_lambda_event_source_mapping",
        ref="uuid",
        given={
            **attributes(
                "FunctionName=function_name EventSourceArn=event_source_arn BatchSize=batch_size Enabled=enabled "
                "MaximumBatchingWindowInSeconds=maximum_batching_window_in_seconds FunctionResponseTypes=function_response_types"
            ),
            "ScalingConfig": Nested("scaling_config", attributes("MaximumConcurrency=maximum_concurrency")),
        },
    ),
    "AWS::Lambda::Function": Kind(
        "aws_lambda_function",
        ref="function_name",
        name="function_name",
        given={
            **attributes("FunctionName=function_name Description=description"),
            "Role": RoleOfFunction(),
            "Code": Package(),
            **attributes(
                "Runtime=runtime Handler=handler Architectures=architectures MemorySize=memory_size Timeout=timeout "
                "ReservedConcurrentExecutions=reserved_concurrent_executions KmsKeyArn=kms_key_arn CodeSigningConfigArn=code_signing_config_arn"
            ),
            "Environment": Nested("environment", attributes("Variables=variables")),
            "LoggingConfig": Nested(
                "logging_config",
                attributes(
                    "LogFormat=log_format LogGroup=log_group ApplicationLogLevel=application_log_level SystemLogLevel=system_log_level"
                ),
            ),
            "TracingConfig": Nested("tracing_config", attributes("Mode=mode")),
            "VpcConfig": Nested(
                "vpc_config",
                attributes(
                    "SubnetIds=subnet_ids SecurityGroupIds=security_group_ids Ipv6AllowedForDualStack=ipv6_allowed_for_dual_stack"
                ),
            ),
            "RecursiveLoop": Recursion(),
            "Tags": Tags(),
        },
    ),
    "AWS::Lambda::Permission": Kind(
        "aws_lambda_permission",
        ref="id",
        name="statement_id",
        tagged=False,
        given=attributes(
            "FunctionName=function_name Action=action Principal=principal SourceArn=source_arn SourceAccount=source_account"
        ),
    ),
    "AWS::Logs::LogGroup": Kind(
        "aws_cloudwatch_log_group",
        ref="name",
        name="name",
        # CloudFormation's ARN of a log group ends so, Terraform's does not.
        attributes={"Arn": "arn:*"},
        given=attributes("LogGroupName=name RetentionInDays=retention_in_days KmsKeyId=kms_key_id LogGroupClass=log_group_class"),
    ),
    "AWS::Logs::MetricFilter": Kind(
        "aws_cloudwatch_log_metric_filter",
        ref="id",
        name="name",
        tagged=False,
        given={
            **attributes("FilterName=name LogGroupName=log_group_name FilterPattern=pattern"),
            "MetricTransformations": Nested(
                "metric_transformation",
                attributes("MetricName=name MetricNamespace=namespace MetricValue=value DefaultValue=default_value Unit=unit"),
                several=True,
            ),
        },
    ),
    "AWS::SNS::Subscription": Kind(
        "aws_sns_topic_subscription",
        ref="arn",
        tagged=False,
        given=attributes("TopicArn=topic_arn Protocol=protocol Endpoint=endpoint"),
    ),
    "AWS::SNS::Topic": Kind(
        "aws_sns_topic",
        ref="arn",
        name="name",
        attributes={"TopicName": "name"},
        given=attributes("TopicName=name DisplayName=display_name KmsMasterKeyId=kms_master_key_id"),
    ),
    "AWS::SNS::TopicPolicy": Kind(
        "aws_sns_topic_policy",
        ref="id",
        tagged=False,
        given={"Topics": One("arn"), "PolicyDocument": Document("policy")},
    ),
    "AWS::SQS::Queue": Kind(
        "aws_sqs_queue",
        ref="url",
        name="name",
        attributes={"QueueName": "name", "QueueUrl": "url"},
        given={
            **attributes(
                "QueueName=name VisibilityTimeout=visibility_timeout_seconds MessageRetentionPeriod=message_retention_seconds "
                "DelaySeconds=delay_seconds ReceiveMessageWaitTimeSeconds=receive_wait_time_seconds SqsManagedSseEnabled=sqs_managed_sse_enabled "
                "KmsMasterKeyId=kms_master_key_id KmsDataKeyReusePeriodSeconds=kms_data_key_reuse_period_seconds"
            ),
            "RedrivePolicy": Document("redrive_policy"),
            "RedriveAllowPolicy": Document("redrive_allow_policy"),
        },
    ),
    "AWS::SQS::QueuePolicy": Kind(
        "aws_sqs_queue_policy",
        ref="id",
        tagged=False,
        given={"Queues": Queues(), "PolicyDocument": Document("policy")},
    ),
}
