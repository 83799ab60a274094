"""Differences between template.yaml and infra/terraform that the comparison must find."""

import json


def of(state, address, module="everything"):
    kind, label = address.split(".")
    return state[f"module.{module}"][kind][label][0]


def policy(change):
    """A change of the catalog's policy."""

    def changed(state):
        it = of(state, "aws_iam_role_policy.catalog_role")
        document = json.loads(it["policy"])
        change(document["Statement"])
        it["policy"] = json.dumps(document)

    return changed


def attribute(address, key, value, module="everything"):
    return lambda state: of(state, address, module).update({key: value})


def gone(address):
    def changed(state):
        kind, label = address.split(".")
        del state["module.everything"][kind][label]

    return changed


def variable(state):
    of(state, "aws_lambda_function.worker")["environment"][0]["variables"]["MAX_TRIES"] = "6"


def route(state):
    it = of(state, "aws_apigatewayv2_api.api")
    body = json.loads(it["body"])
    del body["paths"]["/sessions/oidc"]
    it["body"] = json.dumps(body)


def added(state):
    state["module.everything"]["aws_iam_user"] = {"somebody": [{"name": "somebody"}]}


# What is wrong, the change of the evaluated state, what the finding says.
DEFECTS = [
    ("a policy with one statement less", policy(list.pop), "CatalogRole.Policies"),
    ("a policy with one action more", policy(lambda all: all[0].update(Action="*")), "CatalogRole.Policies"),
    ("a policy without its condition", policy(lambda all: [each.pop("Condition", None) for each in all]), "CatalogRole.Policies"),
    ("a policy that is missing", gone("aws_iam_role_policy.catalog_role"), "CatalogRole.Policies"),
    ("a managed policy that is not attached", gone("aws_iam_role_policy_attachment.catalog_role_network_interfaces"), "CatalogRole.ManagedPolicyArns"),
    ("a role with a policy more", lambda state: state["module.everything"]["aws_iam_role_policy"].update(other=[{"policy": "{}"}]), "only Terraform has it"),
    ("a table that is missing", gone("aws_dynamodb_table.audit"), "Audit: only template.yaml has it"),
    ("a table without recovery", attribute("aws_dynamodb_table.audit", "point_in_time_recovery", []), "Audit.PointInTimeRecoverySpecification"),
    ("an index with another key", lambda state: of(state, "aws_dynamodb_table.certificates")["global_secondary_index"][0].update(hash_key="at"), "Certificates.GlobalSecondaryIndexes"),
    ("a function's other variable", variable, "Worker.Environment"),
    ("a function in no VPC", attribute("aws_lambda_function.worker", "vpc_config", []), "Worker.VpcConfig"),
    ("a function of a wrong package", attribute("aws_lambda_function.worker", "filename", "target/lambda/issue/bootstrap.zip"), "Worker.Code"),
    ("a function with what the template has not", attribute("aws_lambda_function.worker", "layers", ["arn:aws:lambda:x:1:layer:y:1"]), "Worker: Terraform adds layers"),
    ("a key that anybody uses", attribute("aws_kms_key.sealing_key", "policy", json.dumps({"Version": "2012-10-17", "Statement": []})), "SealingKey.KeyPolicy"),
    ("a queue that keeps messages too short", attribute("aws_sqs_queue.event_dead_letters", "message_retention_seconds", 60), "EventDeadLetters.MessageRetentionPeriod"),
    ("a queue without its policy", lambda state: state["module.everything"]["aws_sqs_queue_policy"]["queues_over_tls"].pop(), "QueuesOverTls.Queues"),
    ("a route that is missing", route, "Api.Body"),
    ("an alarm of something else", attribute("aws_cloudwatch_metric_alarm.jobs_failed_alarm", "metric_name", "JobsPaused"), "JobsFailedAlarm.MetricName"),
    ("an alarm that tells nobody", attribute("aws_cloudwatch_metric_alarm.jobs_failed_alarm", "alarm_actions", None, "named"), "JobsFailedAlarm.AlarmActions"),
    ("a rule with another target", attribute("aws_cloudwatch_event_target.conduct_wake", "input", "{}"), "ConductWake.Targets"),
    ("a user of IAM", added, "aws_iam_user.somebody: only Terraform has it"),
]


def of_new_type(source):
    source["Resources"]["New"] = {"Type": "AWS::SecretsManager::Secret", "Properties": {}}


def of_new_property(source):
    source["Resources"]["Audit"]["Properties"]["ImportSourceSpecification"] = {}


def of_new_function(source):
    source["Outputs"]["New"] = {"Description": "-", "Value": {"Fn::GetAZs": ""}}


def changed(source):
    source["Resources"]["Worker"]["Properties"]["MemorySize"] = 4096


# What is new in template.yaml, the change of it, what the finding about the files says.
UNKNOWN = [
    ("a resource type that Terraform lacks", of_new_type, "no Terraform resource is known for AWS::SecretsManager::Secret"),
    ("a property that Terraform lacks", of_new_property, "ImportSourceSpecification"),
    ("a function of CloudFormation that Terraform lacks", of_new_function, "Fn::GetAZs"),
    ("a change that Terraform lacks", changed, "worker.tf is not what template.yaml makes"),
]
