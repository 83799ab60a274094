"""Defects that are put into the template one at a time. Each must be found: this proves that the checks work."""


def statement(source, role, sid):
    statements = source["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return next(each for each in statements if each["Sid"] == sid)


def key_statement(source, key, sid):
    statements = properties(source, key)["KeyPolicy"]["Statement"]
    return next(each for each in statements if each["Sid"] == sid)


def properties(source, name):
    return source["Resources"][name]["Properties"]


def event(source, function, name):
    return properties(source, function)["Events"][name]["Properties"]


def body(source):
    return properties(source, "Api")["DefinitionBody"]


def allow(source, role, actions, resource):
    """Adds a statement to a role."""
    statements = source["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    statements.append({"Sid": "Seeded", "Effect": "Allow", "Action": actions, "Resource": resource})


def variable(source, function, name, value):
    properties(source, function)["Environment"]["Variables"][name] = value


# Defect → the change that causes it → the check (ours, or a rule of rules.guard) that must find it.
DEFECTS = [
    ("a rate with its unit in the wrong number", lambda s: event(s, "Conduct", "Wake").update(Schedule="rate(1 minutes)"), "schedules_are_well_formed"),
    ("no schedule", lambda s: properties(s, "Conduct")["Events"].pop("Wake"), "schedules_are_well_formed"),
    ("a batch that fails as a whole", lambda s: event(s, "Worker", "Task").pop("FunctionResponseTypes"), "mappings_report_failures_one_by_one"),
    ("workers without a bound", lambda s: event(s, "Worker", "Task").pop("ScalingConfig"), "mappings_report_failures_one_by_one"),
    ("jobs that cannot be restored", lambda s: properties(s, "Jobs").pop("PointInTimeRecoverySpecification"), "tables_can_be_restored"),
    ("a table that is not encrypted", lambda s: properties(s, "Certificates")["SSESpecification"].update(SSEEnabled=False), "tables_are_encrypted"),
    ("tokens that stay for ever", lambda s: properties(s, "Access").pop("TimeToLiveSpecification"), "tables_have_their_keys"),
    ("devices that go with the stack", lambda s: s["Resources"]["Devices"].pop("DeletionPolicy"), "tables_outlive_the_stack"),
    ("every action on a table", lambda s: statement(s, "WorkerRole", "Certificates").update(Action="dynamodb:*"), "roles_name_their_actions"),
    ("every table", lambda s: statement(s, "WorkerRole", "Certificates").update(Resource="*"), "wildcards_have_a_reason"),
    ("an importer that decides for the second person", lambda s: statement(s, "ImportRole", "SecondPerson")["Condition"]["ForAllValues:StringLike"].update({"dynamodb:LeadingKeys": ["decision#*"]}), "callers_are_made_where_they_are_administered"),
    ("every log", lambda s: statement(s, "CatalogRole", "Log").update(Resource="arn:aws:logs:*:*:*"), "functions_write_their_own_log"),
    ("a worker that signs", lambda s: allow(s, "WorkerRole", "kms:Sign", "arn:aws:kms:eu-central-1:111122223333:key/k"), "dependencies_are_permissions"),
    ("signing with any key that is tagged", lambda s: allow(s, "ConductRole", "kms:Sign", "arn:aws:kms:eu-central-1:111122223333:key/*"), "keys_are_bound_to_the_stack"),
    ("a key policy that KMS refuses", lambda s: key_statement(s, "SealingKey", "Open")["Condition"].update({"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/*"}}), "kms_accepts_the_key_policies"),
    ("a conductor that deletes what has signed", lambda s: statement(s, "ConductRole", "KeepNamed").update(Effect="Allow"), "no_role_deletes_a_named_key"),
    ("an alias of others", lambda s: statement(s, "ConductRole", "NameKey").update(Resource="arn:aws:kms:eu-central-1:111122223333:alias/*"), "keys_are_bound_to_the_stack"),
    ("a private key that IAM alone opens", lambda s: key_statement(s, "SealingKey", "Open").pop("Condition") and key_statement(s, "SealingKey", "Open").update(Condition={}), "key_policies_name_who_uses_a_key"),
    ("an administrator who opens private keys", lambda s: key_statement(s, "SealingKey", "Administer")["Action"].append("kms:Decrypt"), "key_policies_name_who_uses_a_key"),
    ("a role that administers a key", lambda s: key_statement(s, "AccessKey", "Administer").update(Condition={}), "key_policies_name_who_uses_a_key"),
    ("a role that no key policy finds", lambda s: properties(s, "IssueRole").pop("Path"), "key_policies_name_who_uses_a_key"),
    ("a root that sleeps and signs every certificate", lambda s: s["Rules"].pop("LeavesNeedARootThatIsAwake"), "a_root_that_signs_leaves_is_awake"),
    ("a function that no signing key knows", lambda s: properties(s, "Issue").update(FunctionName={"Fn::Sub": "${AWS::StackName}-worker"}), "signing_keys_are_used_as_written_here"),
    ("tagging keys that have a name", lambda s: statement(s, "ConductRole", "TagKey")["Condition"].pop("Null"), "keys_are_bound_to_the_stack"),
    ("tagging another stack's keys", lambda s: statement(s, "RegenerateRole", "TagKey")["Condition"].pop("StringEqualsIfExists"), "keys_are_bound_to_the_stack"),
    ("making keys without the tag", lambda s: statement(s, "RegenerateRole", "CreateKey").pop("Condition"), "keys_are_bound_to_the_stack"),
    ("a policy of AWS's, which changes without us", lambda s: properties(s, "WorkerRole").update(ManagedPolicyArns=["arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess"]), "roles_hold_only_what_is_written_here"),
    ("a task given away while it is worked on", lambda s: s["Parameters"]["TaskVisibilitySeconds"].update(Default=60), "time_limits_nest"),
    ("more workers than a queue has messages in flight", lambda s: s["Parameters"]["MaximumConcurrency"].update(MaxValue=4000), "messages_in_flight_fit_a_queue"),
    ("a worker that one hanging device holds up", lambda s: s["Parameters"]["WorkerTimeoutSeconds"].update(Default=120), "time_limits_nest"),
    ("a device as slow as its worker", lambda s: s["Parameters"]["DeviceTimeoutSeconds"].update(Default=120), "time_limits_nest"),
    ("a healthy task put aside by throttles", lambda s: properties(s, "TaskQueue")["RedrivePolicy"].update(maxReceiveCount=10), "time_limits_nest"),
    ("an answer after the API's own", lambda s: properties(s, "Regenerate").update(Timeout=60), "time_limits_nest"),
    ("a queue without an end", lambda s: properties(s, "TaskQueue").pop("RedrivePolicy"), "working_queues_give_up"),
    ("dead letters of another queue", lambda s: properties(s, "TaskQueue")["RedrivePolicy"].update(deadLetterTargetArn={"Fn::GetAtt": ["ControlDeadLetters", "Arn"]}), "every_working_queue_is_consumed_and_redriven"),
    ("a queue in clear", lambda s: properties(s, "ControlQueue").pop("SqsManagedSseEnabled"), "queues_are_encrypted"),
    ("a queue over plain HTTP", lambda s: properties(s, "QueuesOverTls")["Queues"].pop(), "every_working_queue_is_consumed_and_redriven"),
    ("dead letters that nobody hears of", lambda s: s["Resources"].pop("TaskDeadLettersAlarm"), "alarms_cover_what_can_go_wrong"),
    ("a bundle that expires unseen", lambda s: properties(s, "BundleLifeAlarm").update(Threshold=0), "alarms_cover_what_can_go_wrong"),
    ("an alarm on a metric that is not there", lambda s: properties(s, "JobsFailedAlarm").update(Namespace="rootcast"), "alarms_cover_what_can_go_wrong"),
    ("an alarm that goes nowhere", lambda s: properties(s, "JobsPausedAlarm").pop("AlarmActions"), "alarms_are_sent"),
    ("logs for ever", lambda s: properties(s, "WorkerLogs").pop("RetentionInDays"), "logs_are_kept_for_a_time"),
    ("an API without a log", lambda s: properties(s, "Api").pop("AccessLogSettings"), "the_api_is_logged_and_throttled"),
    ("a path that leads nowhere", lambda s: body(s)["paths"].pop("/signingcertificate"), "routes_are_those_of_the_table"),
    ("a route that the table does not have", lambda s: body(s)["paths"].update({"/v3/scm/certificates/{id}/exports": body(s)["paths"]["/v3/scm/certificates/{id}/export"]}), "routes_are_those_of_the_table"),
    ("a route around an authorizer", lambda s: body(s)["paths"].update({"/sessions/{path+}": body(s)["paths"]["/vedauth/{path+}"]}), "routes_are_those_of_the_table"),
    ("a server without an address", lambda s: body(s)["servers"][0].pop("url"), "the_routes_fit_api_gateway"),
    ("a part of a path that is not declared", lambda s: body(s)["paths"]["/jobs/{job}"].pop("parameters"), "the_routes_fit_api_gateway"),
    ("more routes than API Gateway has", lambda s: body(s)["paths"].update({f"/more/{number}": body(s)["paths"]["/bundle"] for number in range(300)}), "the_routes_fit_api_gateway"),
    ("routes that take the account's requests", lambda s: properties(s, "Api")["DefaultRouteSettings"].update(ThrottlingRateLimit=100), "the_routes_fit_api_gateway"),
    ("a throttle of no route", lambda s: properties(s, "Api")["RouteSettings"].update({"GET /bundles": {"ThrottlingRateLimit": 1}}), "the_routes_fit_api_gateway"),
    ("a function that any API may call", lambda s: properties(s, "ApiCallsLogin").update(SourceArn={"Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:*"}), "nobody_but_the_api_calls_a_function_as_one"),
    ("a function that its API may not call", lambda s: s["Resources"].pop("ApiCallsRetry"), "nobody_but_the_api_calls_a_function_as_one"),
    ("a variable that nobody reads", lambda s: variable(s, "Catalog", "NEVER_READ", "1"), "variables_are_read"),
    ("a table's name without the permission", lambda s: variable(s, "Worker", "ACCESS_TABLE", {"Ref": "Access"}), "variables_name_what_the_role_allows"),
    ("an endpoint that is empty on AWS", lambda s: variable(s, "Worker", "AWS_ENDPOINT_URL", {"Ref": "EndpointUrl"}), "an_empty_endpoint_is_left_out"),
    ("an architecture of its own", lambda s: properties(s, "Worker").update(Architectures=["x86_64"]), "functions_are_ours"),
    ("a parameter that takes anything", lambda s: s["Parameters"]["DeviceCidrs"].pop("AllowedPattern"), "parameters_explain_and_bound_themselves"),
    ("a table with a fixed capacity", lambda s: properties(s, "Jobs").pop("BillingMode"), "tables_are_on_demand"),
    ("dead letters for four days", lambda s: properties(s, "TaskDeadLetters").pop("MessageRetentionPeriod"), "dead_letters_are_kept"),
    ("a private key opened for anything", lambda s: statement(s, "WorkerRole", "PrivateKeys").pop("Condition"), "keys_are_bound_to_the_stack"),
    ("credentials opened by who seals them", lambda s: statement(s, "CatalogRole", "Credentials").update(Action="kms:Decrypt"), "keys_are_bound_to_the_stack"),
    ("a sealing key that is rotated by hand", lambda s: properties(s, "SealingKey").pop("EnableKeyRotation"), "keys_are_rotated_and_kept"),
    ("sealed keys in an index", lambda s: properties(s, "Certificates")["GlobalSecondaryIndexes"][0].update(Projection={"ProjectionType": "ALL"}), "tables_have_their_keys"),
    ("expiry that nobody looks for", lambda s: properties(s, "Rotate")["Events"].pop("Look"), "schedules_are_well_formed"),
    ("a login that lets anybody in", lambda s: statement(s, "LoginRole", "Give").pop("Condition"), "callers_are_made_where_they_are_administered"),
    ("sessions that anybody makes", lambda s: statement(s, "CatalogRole", "Sessions")["Condition"].pop("ForAllValues:StringEquals"), "callers_are_made_where_they_are_administered"),
    ("an identity that nobody verified", lambda s: body(s)["paths"]["/sessions/iam"]["post"].pop("security"), "the_gateway_authorizes_what_only_it_can"),
    ("a login that tells", lambda s: allow(s, "LoginRole", "events:PutEvents", "arn:aws:events:eu-central-1:111122223333:event-bus/default"), "dependencies_are_permissions"),
    ("lists that nobody renews", lambda s: properties(s, "Issue")["Events"].pop("Lists"), "schedules_are_well_formed"),
    ("a certificate put aside by throttles", lambda s: properties(s, "IssueQueue")["RedrivePolicy"].update(maxReceiveCount=8), "time_limits_nest"),
    ("a line of the audit changed", lambda s: statement(s, "CatalogRole", "Audit")["Action"].append("dynamodb:UpdateItem"), "the_audit_is_only_appended_to"),
    ("a worker that records", lambda s: allow(s, "WorkerRole", "dynamodb:PutItem", {"Fn::GetAtt": ["Audit", "Arn"]}), "the_audit_is_only_appended_to"),
    ("a catalog that states heads", lambda s: allow(s, "CatalogRole", "dynamodb:PutItem", {"Fn::GetAtt": ["Heads", "Arn"]}), "the_audit_is_only_appended_to"),
    ("a copy of heads deleted", lambda s: allow(s, "RotateRole", "s3:DeleteObject", {"Fn::Sub": "arn:${AWS::Partition}:s3:::${AuditBucket}/1"}), "the_audit_is_only_appended_to"),
    ("a catalog that copies heads", lambda s: properties(s, "CatalogRole").update(ManagedPolicyArns=[{"Ref": "AuditCopies"}]), "roles_hold_only_what_is_written_here"),
    ("a catalog that signs heads", lambda s: allow(s, "CatalogRole", "kms:Sign", {"Fn::GetAtt": ["AuditKey", "Arn"]}), "keys_are_bound_to_the_stack"),
    ("heads that an issuer signs", lambda s: key_statement(s, "AuditKey", "State").update(Condition=key_statement(s, "SealingKey", "Seal")["Condition"]), "key_policies_name_who_uses_a_key"),
    ("heads that nobody misses", lambda s: s["Resources"].pop("AuditHeadsAlarm"), "alarms_cover_what_can_go_wrong"),
    ("certificates signed with a key of anybody", lambda s: allow(s, "IssueRole", "kms:Sign", "*"), "keys_are_bound_to_the_stack"),
    ("requests of anybody in the account", lambda s: s["Resources"].pop("RequestsPolicy"), "requests_come_from_the_named_alone"),
    ("requests by the account's default bus", lambda s: event(s, "Retry", "RenewCertificates").pop("EventBusName"), "requests_come_from_the_named_alone"),
    ("a worker that asks", lambda s: allow(s, "WorkerRole", "events:PutEvents", {"Fn::GetAtt": ["Requests", "Arn"]}), "requests_come_from_the_named_alone"),
    ("an output that is not there", lambda s: s["Outputs"].pop("JobsTable"), "outputs_name_what_a_caller_needs"),
    ("a conductor that Lambda ends", lambda s: properties(s, "Conduct").pop("RecursiveLoop"), "loops_are_allowed_where_they_are"),
    ("an issuer that Lambda ends", lambda s: properties(s, "Issue").update(RecursiveLoop="Terminate"), "loops_are_allowed_where_they_are"),
    ("a login that may loop", lambda s: properties(s, "Login").update(RecursiveLoop="Allow"), "loops_are_allowed_where_they_are"),
    ("loops that Lambda ends unseen", lambda s: s["Resources"].pop("RecursionsDroppedAlarm"), "alarms_cover_what_can_go_wrong"),
    ("throttles of one function unseen", lambda s: properties(s, "ThrottlesAlarm")["Metrics"].pop(), "alarms_cover_what_can_go_wrong"),
    ("tasks that wait unseen", lambda s: s["Resources"].pop("TaskAgeAlarm"), "alarms_cover_what_can_go_wrong"),
    ("an API that fails unseen", lambda s: s["Resources"].pop("ApiErrorsAlarm"), "alarms_cover_what_can_go_wrong"),
    ("a metric that nobody counts", lambda s: properties(s, "LockoutsAlarm").update(MetricName="Lockouts"), "alarms_watch_what_is_emitted"),
    ("a line that nobody logs", lambda s: properties(s, "KeysExported").update(FilterPattern='"key exported"'), "alarms_watch_what_is_emitted"),
    ("a metric of AWS by another dimension", lambda s: properties(s, "ApiErrorsAlarm").update(Dimensions=[{"Name": "ApiName", "Value": {"Ref": "Api"}}]), "alarms_watch_what_is_emitted"),
    ("a dashboard of nothing", lambda s: properties(s, "Overview").update(DashboardBody={"Fn::Sub": '{ "widgets": [{ "metrics": [["Rootcast", "Lockouts"]] }] }'}), "alarms_watch_what_is_emitted"),
    ("an index that changes", lambda s: properties(s, "Certificates")["GlobalSecondaryIndexes"][0]["Projection"]["NonKeyAttributes"].append("key2"), "an_update_keeps_what_a_stack_holds"),
    ("two indexes in one update", lambda s: [properties(s, "Certificates")["GlobalSecondaryIndexes"].pop() for _ in range(3)], "an_update_keeps_what_a_stack_holds"),
    ("a table of another name", lambda s: s["Resources"].update(Fleet=s["Resources"].pop("Heads")), "an_update_keeps_what_a_stack_holds"),
    ("a queue of another name", lambda s: properties(s, "TaskQueue").update(QueueName="tasks"), "an_update_keeps_what_a_stack_holds"),
    ("a parameter that is gone", lambda s: s["Parameters"].update(Subnets=s["Parameters"].pop("RootKeySleeps")), "an_update_keeps_what_a_stack_holds"),
    ("a table that a failed deployment leaves", lambda s: s["Resources"]["Jobs"].update(DeletionPolicy="Retain"), "tables_outlive_the_stack"),
    ("a table that goes by one call", lambda s: properties(s, "Jobs").pop("DeletionProtectionEnabled"), "tables_cannot_be_deleted_by_hand"),
    ("an option that is always on", lambda s: s["Resources"]["Edge"].pop("Condition"), "options_add_what_they_say_and_nothing_else"),
    ("an option that takes more with it", lambda s: s["Resources"]["BackupsFailedAlarm"].update(Condition="HasDashboard"), "options_add_what_they_say_and_nothing_else"),
    ("a reference to what an option adds", lambda s: properties(s, "Worker")["Environment"]["Variables"].update(EVENT_BUS={"Fn::GetAtt": ["BackupVault", "BackupVaultArn"]}), "options_add_what_they_say_and_nothing_else"),
    ("an option on by default", lambda s: s["Parameters"]["PublicEdge"].update(Default="true"), "options_add_what_they_say_and_nothing_else"),
    ("client certificates, and everybody else's way", lambda s: s["Rules"]["ClientCertificatesHaveNoWayAround"]["Assertions"].pop(1), "wrong_combinations_are_refused_at_once"),
    ("a name without a certificate", lambda s: s["Rules"].pop("AnApiNameNeedsACertificate"), "wrong_combinations_are_refused_at_once"),
    ("a role without the boundary", lambda s: properties(s, "RotateRole").pop("PermissionsBoundary"), "options_reach_all_that_they_are_for"),
    ("a table with a key of AWS's", lambda s: properties(s, "Access")["SSESpecification"].pop("KMSMasterKeyId"), "options_reach_all_that_they_are_for"),
    ("a log with a key of AWS's", lambda s: properties(s, "ApiLogs").pop("KmsKeyId"), "options_reach_all_that_they_are_for"),
    ("a table without a backup", lambda s: properties(s, "BackupTables")["BackupSelection"]["Resources"].pop(), "options_reach_all_that_they_are_for"),
    ("an API that starves", lambda s: properties(s, "Catalog").pop("ReservedConcurrentExecutions"), "options_reach_all_that_they_are_for"),
    ("a function that takes any code", lambda s: properties(s, "Issue").pop("CodeSigningConfigArn"), "options_reach_all_that_they_are_for"),
    ("a function without IPv6", lambda s: properties(s, "Worker")["VpcConfig"]["Fn::If"][1].update(Ipv6AllowedForDualStack=False), "options_reach_all_that_they_are_for"),
    ("a function that is not traced", lambda s: properties(s, "Worker").update(Tracing="PassThrough"), "functions_are_ours"),
    ("an edge to everything", lambda s: properties(s, "Edge")["DistributionConfig"]["DefaultCacheBehavior"].pop("FunctionAssociations"), "the_edge_serves_what_is_public_alone"),
    ("trust anchors over plain http", lambda s: properties(s, "Edge")["DistributionConfig"]["CacheBehaviors"][2].update(ViewerProtocolPolicy="allow-all"), "the_edge_serves_what_is_public_alone"),
    ("lists over https alone", lambda s: properties(s, "Edge")["DistributionConfig"]["CacheBehaviors"][0].update(ViewerProtocolPolicy="https-only"), "the_edge_serves_what_is_public_alone"),
    ("a login at the edge", lambda s: properties(s, "Edge")["DistributionConfig"]["CacheBehaviors"].append(properties(s, "Edge")["DistributionConfig"]["CacheBehaviors"][1] | {"PathPattern": "/sessions"}), "the_edge_serves_what_is_public_alone"),
    ("a client without a certificate", lambda s: properties(s, "Api").pop("DisableExecuteApiEndpoint"), "client_certificates_have_no_way_around"),
    ("a name that asks for no certificate", lambda s: properties(s, "ApiName").pop("MutualTlsAuthentication"), "client_certificates_have_no_way_around"),
    ("an endpoint to every account", lambda s: properties(s, "KeysEndpoint").pop("PolicyDocument") and properties(s, "KeysEndpoint").update(PolicyDocument={"Statement": [{}]}), "endpoints_let_nothing_out"),
    ("no endpoint for credentials", lambda s: s["Resources"].pop("CredentialsEndpoint"), "endpoints_let_nothing_out"),
    ("a table's key for everybody", lambda s: key_statement(s, "TablesKey", "ThroughDynamoDb")["Condition"]["StringEquals"].pop("kms:ViaService"), "key_policies_name_who_uses_a_key"),
    ("a log's key for every log", lambda s: key_statement(s, "LogsKey", "ByCloudWatchLogs").update(Condition={}), "key_policies_name_who_uses_a_key"),
    ("a backup that restores", lambda s: allow(s, "BackupService", "dynamodb:RestoreTableFromBackup", {"Fn::GetAtt": ["Audit", "Arn"]}), "the_audit_is_only_appended_to"),
    ("an alarm that the guide does not count", lambda s: s["Resources"].pop("LockoutsAlarm"), "the_guide_counts_the_alarms"),
    ("a parameter without a guide", lambda s: s["Parameters"].update(Secret={"Type": "String", "Default": ""}), "the_guide_names_every_parameter"),
    ("a resource that nobody may make", lambda s: s["Resources"].update(Copies={"Type": "AWS::S3::Bucket", "Properties": {}}), "the_deployment_role_makes_what_is_here"),
    ("a table that is adopted as another one", lambda s: properties(s, "Heads")["KeySchema"].pop(), "an_adopted_stack_keeps_what_is_retained"),
]
