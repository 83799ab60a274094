"""Checks of checkov that the template does not meet, each with its reason: the only list of exceptions."""

FUNCTIONS = {"Regenerate", "Conduct", "Worker", "Issue", "Catalog", "Import", "Retry", "Login", "Console", "Rotate"}
QUEUES = {f"{name}{kind}" for name in ("Control", "Task", "Issue") for kind in ("Queue", "DeadLetters")} | {"EventDeadLetters"}

# check → (excepted resources, reason)
EXCEPTIONS = {
    "CKV_AWS_27": (QUEUES, "encrypted by SQS itself (SqsManagedSseEnabled), which checkov does not look at; no message holds a secret"),
    "CKV_AWS_111": ({"NetworkInterfaces"}, "Lambda makes the interfaces at run time; the functions' own code is denied it (lambda:SourceFunctionArn)"),
    "CKV_AWS_115": ({"Conduct", "Worker", "Issue", "Rotate"}, "a reserved share would take from the account's limit; their queues and schedules bound them"),
    "CKV_AWS_116": (FUNCTIONS, "the queues have dead letters of their own; what the API calls answers its caller; a schedule comes again"),
    "CKV_AWS_117": (FUNCTIONS - {"Worker", "Catalog"}, "only worker and catalog speak to devices; the others reach AWS alone, by its public endpoints over TLS"),
    "CKV_AWS_173": (FUNCTIONS, "the variables are names and limits; no secret is among them"),
}
