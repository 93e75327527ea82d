"""What a template of ours must not have: each rule gives back what it found, in words."""

import re

import yaml

WORLD = ("0.0.0.0/0", "::/0")
# Actions that know no resources, or are about things that do not exist yet. All others name theirs.
OF_NO_RESOURCE = re.compile(
    r"^(ssm:UpdateInstanceInformation|ssmmessages:\w+|ec2messages:\w+|ec2:Describe\w+|elasticmapreduce:RunJobFlow"
    r"|cloudformation:(GetTemplateSummary|ValidateTemplate))$"
)


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms of functions."""


def function(loader, suffix, node):
    kinds = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence, yaml.MappingNode: loader.construct_mapping}
    value = kinds[type(node)](node, **({} if isinstance(node, yaml.ScalarNode) else {"deep": True}))
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".")
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", function)


def load(text):
    return yaml.load(text, Loader)


def of_type(template, *kinds):
    return {name: body.get("Properties", {}) for name, body in template["Resources"].items() if body["Type"] in kinds}


def walk(value, path=""):
    """All scalars in a value, with the keys that lead to them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, path)
    else:
        yield path, value


def listed(value):
    return value if isinstance(value, list) else [value]


def open_network(template):
    for path, value in walk(template):
        if value in WORLD:
            yield f"{path} is open to everybody"
    for name, group in of_type(template, "AWS::EC2::SecurityGroup").items():
        if not group.get("SecurityGroupEgress"):
            yield f"{name} has no outbound rules of its own, so it may reach everybody"
    for name in of_type(template, "AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::EIP"):
        yield f"{name} is a way to the internet"


def statements(template):
    """What people and machines may do: each statement of each policy of a role, a group, a user or by itself."""
    for name, body in of_type(template, "AWS::IAM::Role", "AWS::IAM::Group", "AWS::IAM::User").items():
        for policy in body.get("Policies", []):
            yield from ((name, statement) for statement in listed(policy["PolicyDocument"]["Statement"]))
    for name, body in of_type(template, "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy").items():
        yield from ((name, statement) for statement in listed(body["PolicyDocument"]["Statement"]))


def wide_rights(template):
    for name, statement in statements(template):
        if statement["Effect"] != "Allow":
            continue
        for action in listed(statement.get("Action", "everything but some")):
            if "*" in action or "NotAction" in statement:
                yield f"{name} may {action}"
            elif "*" in listed(statement.get("Resource", "*")) and not OF_NO_RESOURCE.match(action):
                yield f"{name} may {action} with everything"


def insecure_cluster(template):
    configurations = of_type(template, "AWS::EMR::SecurityConfiguration")
    for name, cluster in of_type(template, "AWS::EMR::Cluster").items():
        security = configurations.get(cluster.get("SecurityConfiguration", {}).get("Ref"))
        if security is None:
            yield f"{name} has no security configuration"
            continue
        security = security["SecurityConfiguration"]
        encryption = security.get("EncryptionConfiguration", {})
        for what in ("EnableAtRestEncryption", "EnableInTransitEncryption"):
            if encryption.get(what) is not True:
                yield f"{name}: {what} is not true"
        disks = encryption.get("AtRestEncryptionConfiguration", {}).get("LocalDiskEncryptionConfiguration", {})
        if disks.get("EnableEbsEncryption") is not True:
            yield f"{name}: disks are not encrypted"
        if security.get("InstanceMetadataServiceConfiguration", {}).get("MinimumInstanceMetadataServiceVersion") != 2:
            yield f"{name}: IMDSv1 is allowed"


def unencrypted_bucket(template):
    policies = of_type(template, "AWS::S3::BucketPolicy").values()
    for name, bucket in of_type(template, "AWS::S3::Bucket").items():
        if not bucket.get("BucketEncryption"):
            yield f"{name} is not encrypted"
        if bucket.get("VersioningConfiguration") != {"Status": "Enabled"}:
            yield f"{name} keeps no old versions"
        if list(bucket.get("PublicAccessBlockConfiguration", {}).values()) != [True] * 4:
            yield f"{name} may become public"
        own = [statement for policy in policies if policy["Bucket"] == {"Ref": name} for statement in policy["PolicyDocument"]["Statement"]]
        tls_only = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        everything = [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]
        if not any(tls_only.items() <= statement.items() and statement["Resource"] == everything for statement in own):
            yield f"{name} answers without TLS"


def readable_password(template):
    for name, secret in of_type(template, "AWS::SecretsManager::Secret").items():
        if "SecretString" in secret or "GenerateSecretString" not in secret:
            yield f"{name} is written down"
    for name, parameter in template.get("Parameters", {}).items():
        if re.search("password|secret|token", name, re.I) and parameter.get("Default") and parameter.get("NoEcho") is not True:
            yield f"{name} is written down"
    for path, value in walk(template):
        if re.search(r"(AKIA|ASIA)[A-Z0-9]{16}|-----BEGIN", str(value)) or (path.lower().endswith("/password") and "{{resolve:" not in str(value)):
            yield f"{path} is written down"


RULES = [open_network, wide_rights, insecure_cluster, unencrypted_bucket, readable_password]
