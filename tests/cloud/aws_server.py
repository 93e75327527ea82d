"""AWS as moto plays it, on a free port of 127.0.0.1, until standard input ends: whoever starts this cannot leave it behind.

The first line of its output is the endpoint. moto's CloudFormation does not know some of what the template has; here it learns it, each thing
by calls to moto's own services, so that what the stack makes is there to be looked at:

- four types of resources: groups, secrets, bucket policies and outbound rules;
- conditions when a stack is updated, and in change sets: resources come and go with them;
- change sets that change nothing, which fail, and are not refused;
- removing endpoints, route tables and policies;
- buckets that keep old versions;
- the nodes and steps of a cluster, in its own region, and Session Manager's answer to who wants to connect.
"""

import json
import logging
import secrets
import sys

from moto.cloudformation.models import Change, ChangeSet, Stack
from moto.cloudformation.parsing import ResourceMap
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.common_models import CloudFormationModel
from moto.core.responses import BaseResponse
from moto.ec2.models import ec2_backends
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.vpcs import VPCEndPoint
from moto.emr.models import Cluster, emr_backends
from moto.emr.responses import ElasticMapReduceResponse
from moto.iam.models import ManagedPolicy, iam_backends
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3.models import FakeBucket, s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.responses import SimpleSystemManagerResponse


def resource(kind, make, unmake=lambda *_: None):
    """Teaches moto a type of resource: `make` gives back its name. Kept as a type, for moto looks for those among the model's subclasses."""

    class Resource(CloudFormationModel):
        __module__ = "moto.cloudformation"  # moto reads the service from it

        def __init__(self, name):
            self.physical_resource_id = name

        @staticmethod
        def cloudformation_name_type():
            return ""

        @staticmethod
        def cloudformation_type():
            return kind

        @classmethod
        def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
            return cls(make(resource_name, cloudformation_json["Properties"], account_id, region_name))

        @classmethod
        def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
            unmake(resource_name, account_id, region_name)

    return Resource


def make_group(name, properties, account, region):
    iam = iam_backends[account]["aws"]
    group = iam.create_group(f"{name}-{secrets.token_hex(4)}").name
    for arn in properties["ManagedPolicyArns"]:
        iam.attach_group_policy(arn, group)
    return group


def unmake_group(name, account, region):
    iam_backends[account]["aws"].delete_group(name)


def make_secret(name, properties, account, region):
    generate = properties["GenerateSecretString"]
    backend = secretsmanager_backends[account][region]
    text = backend.get_random_password(
        password_length=generate["PasswordLength"],
        exclude_characters="",
        exclude_numbers=False,
        exclude_punctuation=generate["ExcludePunctuation"],
        exclude_uppercase=False,
        exclude_lowercase=False,
        include_space=False,
        require_each_included_type=True,
    )
    secret = backend.create_secret(
        name=f"{name}-{secrets.token_hex(4)}",
        secret_string=json.loads(text)["RandomPassword"],
        secret_binary=None,
        description=None,
        tags=[],
        kms_key_id=properties["KmsKeyId"],
        client_request_token=None,
        replica_regions=[],
        force_overwrite=False,
    )
    return json.loads(secret)["ARN"]


def unmake_secret(name, account, region):
    secretsmanager_backends[account][region].delete_secret(name, recovery_window_in_days=None, force_delete_without_recovery=True)


def make_bucket_policy(name, properties, account, region):
    # Not put in force: moto leaves out a policy's conditions, and would deny everything to everybody.
    assert s3_backends[account]["aws"].get_bucket(properties["Bucket"])
    return name


def make_egress(name, properties, account, region):
    ec2_backends[account][region].authorize_security_group_egress(
        properties["GroupId"],
        properties["IpProtocol"],
        *[str(properties[port]) if port in properties else None for port in ("FromPort", "ToPort")],
        ip_ranges=[],
        source_groups=[{"GroupId": properties["DestinationSecurityGroupId"]}],
    )
    return name


TYPES = [
    resource("AWS::IAM::Group", make_group, unmake_group),
    resource("AWS::SecretsManager::Secret", make_secret, unmake_secret),
    resource("AWS::S3::BucketPolicy", make_bucket_policy),
    resource("AWS::EC2::SecurityGroupEgress", make_egress),
]


def present(resources, template, parameters):
    """Those resources of a template whose condition holds with these parameters."""
    scratch = ResourceMap("", "", parameters, {}, resources._region_name, resources._account_id, template, None)
    scratch.load_parameters()
    scratch.load_conditions()
    return {
        name: resource
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or scratch.lazy_condition_map[resource["Condition"]]
    }


def build_resource_diff(resources, template, parameters=None, *, original=ResourceMap.build_resource_diff):
    if resources._resource_json_map:
        resources._resource_json_map = present(resources, resources._template, resources.input_parameters)
    difference = original(resources, {**template, "Resources": present(resources, template, parameters)}, parameters)
    for name in difference["Add"]:
        resources._parsed_resources.pop(name, None)
    return difference


def diff(change_set):
    kinds = {name: body["Type"] for name, body in (change_set.stack.template_dict.get("Resources", {}) | change_set.template_dict["Resources"]).items()}
    difference = change_set.stack.resource_map.build_resource_diff(change_set.template_dict, change_set.parameters)
    return [Change(action, name, kinds[name]) for action, names in difference.items() for name in names]


def apply(change_set, *, original=ChangeSet.apply):
    original(change_set)
    change_set.stack.template_dict, change_set.stack.parameters = change_set.template_dict, change_set.parameters
    change_set.stack.output_map = change_set.stack._create_output_map()


def create_cluster(cls, resource_name, cloudformation_json, account_id, region_name, *, original=Cluster.create_from_cloudformation_json, **names):
    instances = cloudformation_json["Properties"]["Instances"]
    instances["keep_job_flow_alive_when_no_steps"] = instances["KeepJobFlowAliveWhenNoSteps"]
    cluster = original(resource_name, cloudformation_json, account_id, region_name, **names)
    backend = emr_backends[account_id][region_name]
    groups = [("MASTER", instances["MasterInstanceGroup"]), ("CORE", instances["CoreInstanceGroup"])]
    for role, group in groups + [("TASK", group) for group in instances["TaskInstanceGroups"]]:
        size = {"instance_count": int(group["InstanceCount"]), "instance_type": group["InstanceType"]}
        (made,) = backend.add_instance_groups(cluster.id, [{**size, "instance_role": role, "market": group["Market"], "name": group["Name"]}])
        backend.run_instances(cluster.id, size, made)
    for step in cloudformation_json["Properties"]["Steps"]:
        run = {"jar": step["HadoopJarStep"]["Jar"], "args": step["HadoopJarStep"]["Args"]}
        backend.add_job_flow_steps(cluster.id, [{"name": step["Name"], "action_on_failure": step["ActionOnFailure"], "hadoop_jar_step": run}])
    return cluster


def create_bucket(cls, resource_name, cloudformation_json, account_id, region_name, *, original=FakeBucket.create_from_cloudformation_json, **names):
    bucket = original(resource_name, cloudformation_json, account_id, region_name, **names)
    bucket.versioning_status = cloudformation_json["Properties"].get("VersioningConfiguration", {}).get("Status")
    return bucket


def removable(model, delete):
    """Teaches moto to remove a type of resource with its stack. moto has no order in which it removes things: `delete` must not need one."""
    model.delete_from_cloudformation_json = classmethod(lambda cls, name, body, account, region: delete(account, region, name))


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("moto").setLevel(logging.ERROR)
    ResourceMap.build_resource_diff = build_resource_diff
    ChangeSet.diff, ChangeSet.apply = diff, apply
    CloudFormationResponse._validate_different_update = lambda *_: None
    Stack.has_parameters = lambda stack, other: all(str(stack.stack_parameters.get(name)) == str(other[name]) for name in other)
    Cluster.create_from_cloudformation_json = classmethod(create_cluster)
    FakeBucket.create_from_cloudformation_json = classmethod(create_bucket)
    removable(RouteTable, lambda account, region, name: ec2_backends[account][region].delete_route_table(name))
    removable(VPCEndPoint, lambda account, region, name: ec2_backends[account][region].vpc_end_points.pop(name))
    removable(ManagedPolicy, lambda account, region, name: iam_backends[account]["aws"].delete_policy(name))
    ElasticMapReduceResponse.get_region_from_url = BaseResponse.get_region_from_url
    SimpleSystemManagerResponse.start_session = lambda self: json.dumps({"SessionId": "s-1", "TokenValue": "t", "StreamUrl": "wss://127.0.0.1"})
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
