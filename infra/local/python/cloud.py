"""Runs the local cloud, with one answer put right: AWS does not list the tags of a parameter that does not exist, but
answers InvalidResourceId (recorded in https://github.com/getmoto/moto/issues/4360)."""

import runpy

from ministack.services import ssm

listed = ssm._list_tags_for_resource


def list_tags_for_resource(data):
    name = data.get("ResourceId", "")
    if data.get("ResourceType") == "Parameter" and not ssm._lookup_parameter(name, flexible_name=True)[1]:
        return ssm.error_response_json("InvalidResourceId", "", 400)
    return listed(data)


ssm._list_tags_for_resource = list_tags_for_resource
runpy.run_module("ministack", run_name="__main__", alter_sys=True)
