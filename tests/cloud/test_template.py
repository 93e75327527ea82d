"""What the template says, what those who read templates say about it, and who may do what in the stack that it makes."""

import ast
import csv
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import boto3
import pytest
import yaml

import rules
from conftest import KEYS, REGION, ROOT, TEMPLATE, started
from policies import allowed
from rules import listed

BAD = pathlib.Path(__file__).parent / "bad"
TOOLS = pathlib.Path(sys.executable).parent
REGIONS = list(csv.DictReader((ROOT / "bootstrap" / "emr" / "regions.csv").open()))


@pytest.fixture(scope="module")
def template():
    return rules.load(TEMPLATE.read_text())


def tool(*command):
    # Neither may ask anybody on the network.
    nobody = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | nobody)


# --- Rules of our own ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_our_template_keeps_our_rules(template, rule):
    assert list(rule(template)) == []


BROKEN = {
    "open_network": "open_network",
    "open_by_omission": "open_network",
    "wide_rights": "wide_rights",
    "insecure_cluster": "insecure_cluster",
    "unencrypted_bucket": "unencrypted_bucket",
    "readable_password": "readable_password",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_template_is_caught_by_its_rule_alone(name):
    bad = rules.load((BAD / f"{name}.yaml").read_text())
    assert [rule.__name__ for rule in rules.RULES if list(rule(bad))] == [BROKEN[name]]


def test_all_rules_and_bad_templates_are_tried():
    assert set(BROKEN) == {path.stem for path in BAD.glob("*.yaml")}
    assert set(BROKEN.values()) == {rule.__name__ for rule in rules.RULES}


# --- The tools -------------------------------------------------------------------------------------------------------------------------


def test_cfn_lint_is_content():
    done = tool(TOOLS / "cfn-lint", "--include-checks", "I", "--regions", *[row["region"] for row in REGIONS], "--template", TEMPLATE)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("nodes, is_known", [("m7i.xlarge", True), ("m7i-flex.xlarge", False)])  # the other: not in Milan
def test_emr_has_our_nodes_in_every_region(nodes, is_known, tmp_path):
    """As cfn-lint has it from EMR's price list. It does not look at a parameter's values."""
    changed = tmp_path / "template.yaml"
    changed.write_text(TEMPLATE.read_text().replace("!Ref InstanceType", nodes))
    regions = [row["region"] for row in REGIONS]
    done = tool(TOOLS / "cfn-lint", "--ignore-checks", "W", "--format", "parseable", "--regions", *regions, "--template", changed)
    assert {line.split(":")[5] for line in done.stdout.splitlines()} == (set() if is_known else {"E3675"}), done.stdout + done.stderr


def test_every_release_and_zone_has_our_nodes(cloud, template):
    """As AWS itself has answered those who make moto."""
    pattern = template["Parameters"]["Release"]["AllowedPattern"]
    releases = [release for release in cloud.emr.list_release_labels()["ReleaseLabels"] if re.search(pattern, release)]
    assert template["Parameters"]["Release"]["Default"] in releases and len(releases) > 20
    for release in releases:
        types = {answer["Type"] for answer in cloud.emr.list_supported_instance_types(ReleaseLabel=release)["SupportedInstanceTypes"]}
        assert {"m5.xlarge", "m7i.xlarge"} <= types, release
    for row in REGIONS:
        ec2 = boto3.client("ec2", endpoint_url=cloud.endpoint, region_name=row["region"], **KEYS)
        zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]  # the subnet's
        filters = [{"Name": "location", "Values": [zone]}, {"Name": "instance-type", "Values": ["m5.xlarge", "m7i.xlarge"]}]
        offered = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=filters)["InstanceTypeOfferings"]
        assert len(offered) == 2, (zone, offered)


def test_checkov_is_content_but_for_exceptions_with_reasons():
    done = tool(TOOLS / "checkov", "--file", TEMPLATE, "--framework", "cloudformation", "--output", "json", "--skip-download")
    report = json.loads(done.stdout)["results"]
    assert not [(check["check_id"], check["resource"]) for check in report["failed_checks"]]
    assert not report["parsing_errors"] and len(report["passed_checks"]) > 80
    skipped = {(check["check_id"], check["resource"].split(".")[-1]): check["check_result"]["suppress_comment"] for check in report["skipped_checks"]}
    assert set(skipped) == {("CKV_AWS_18", "LogsBucket"), ("CKV_AWS_111", "NodeRole")}
    assert all(len(reason) > 20 for reason in skipped.values())


def test_shellcheck_is_content():
    scripts = [*ROOT.glob("bootstrap/*.sh"), *ROOT.glob("bootstrap/*/*.sh"), *ROOT.glob("tests/*.sh"), ROOT / ".ci" / "run"]
    assert len(scripts) > 10
    done = tool(TOOLS / "shellcheck", "--shell=bash", "--external-sources", "--source-path=SCRIPTDIR", "--format=gcc", *sorted(scripts))
    assert done.returncode == 0, done.stdout + done.stderr


def test_cloudformation_can_read_it():
    # It takes up to 51,200 bytes without a bucket to put them into, and no aliases of YAML.
    assert TEMPLATE.stat().st_size < 51_200
    assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(TEMPLATE.read_text()))


# --- What it says ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, good, bad",
    [
        ("Release", ["emr-7.13.0", "emr-6.9.0", "emr-6.15.0"], ["emr-6.8.0", "emr-5.36.0", "emr-8.0.0", "emr-spark-8.0", "emr-7.13.0 "]),
        ("SshCidr", ["", "10.1.0.0/16", "203.0.113.7/32"], ["0.0.0.0/0", "10.0.0.0/8", "203.0.113.7", "1.2.3.4/0", "::/0"]),
        ("Bundle", ["", "0123456789abcdef"], ["0123456789abcde", "0123456789ABCDEF", "../../x"]),
        ("BundleSha256", ["", "0" * 64], ["0" * 63]),
        ("S3PrefixList", ["pl-0123456789abcdef0"], ["", "sg-1", "10.0.0.0/8"]),
        ("InstanceType", ["m5.xlarge", "m7i.xlarge", "c6i.4xlarge", "g4dn.xlarge"], ["m7g.xlarge", "c7gn.xlarge", "m5", "m5.xlarge; x", ""]),
        ("Running", ["yes", "no"], ["true", ""]),
    ],
)
def test_parameters_take_what_they_are_for(template, name, good, bad):
    parameter = template["Parameters"][name]
    takes = lambda value: value in parameter.get("AllowedValues", [value]) and re.search(parameter.get("AllowedPattern", ""), value) is not None
    assert [takes(value) for value in good + bad] == [True] * len(good) + [False] * len(bad)


def test_the_cluster_is_what_we_agreed(template):
    cluster = template["Resources"]["Cluster"]["Properties"]
    assert [application["Name"] for application in cluster["Applications"]] == ["Hadoop", "Spark", "JupyterHub"]
    assert cluster["AutoTerminationPolicy"] == {"IdleTimeout": 5400} and cluster["StepConcurrencyLevel"] == 1
    instances = cluster["Instances"]
    assert instances["KeepJobFlowAliveWhenNoSteps"] is True and instances["TerminationProtected"] is False
    groups = [instances["MasterInstanceGroup"], instances["CoreInstanceGroup"], *instances["TaskInstanceGroups"]]
    assert [group["Market"] for group in groups] == ["ON_DEMAND", "ON_DEMAND", "SPOT"]
    limits = cluster["ManagedScalingPolicy"]["ComputeLimits"]
    assert limits["MaximumOnDemandCapacityUnits"] == limits["MaximumCoreCapacityUnits"] == limits["MinimumCapacityUnits"] == 1
    assert limits["MaximumCapacityUnits"] == {"Ref": "MaxNodes"}

    (persistence,) = cluster["Configurations"]
    assert persistence["Classification"] == "jupyter-s3-conf"
    assert persistence["ConfigurationProperties"] == {"s3.persistence.enabled": "true", "s3.persistence.bucket": {"Ref": "DataBucket"}}

    (action,) = [action["ScriptBootstrapAction"] for action in cluster["BootstrapActions"]]
    assert action["Path"] == {"Fn::Sub": "s3://${DataBucket}/fruits/${Bundle}/node.sh"}
    assert action["Args"] == [{"Fn::Sub": "s3://${DataBucket}/fruits/${Bundle}"}, {"Ref": "BundleSha256"}]
    (step,) = cluster["Steps"]
    assert step["ActionOnFailure"] == "CONTINUE" and step["HadoopJarStep"]["Jar"] == "command-runner.jar"
    assert step["HadoopJarStep"]["Args"] == ["sudo", "/opt/fruits/emr/jupyterhub.sh", {"Ref": "HubPassword"}, {"Fn::Sub": "s3://${DataBucket}/jupyter"}]


def test_the_network_is_what_emr_asks_for(template):
    """The rules that EMR's management guide lists for custom groups in a private subnet."""
    found = set()
    for name, body in template["Resources"].items():
        properties = body.get("Properties", {})
        if body["Type"] == "AWS::EC2::SecurityGroup":
            for way in ("Ingress", "Egress"):
                found |= {(name, way, *port(rule)) for rule in properties.get(f"SecurityGroup{way}", [])}
        elif body["Type"] in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
            found.add((properties["GroupId"]["Ref"], body["Type"].removeprefix("AWS::EC2::SecurityGroup"), *port(properties)))
    nodes, service = "Nodes", "EmrService"
    everything = [("tcp", 0, 65535), ("udp", 0, 65535), ("icmp", -1, -1)]
    assert found == {
        *((nodes, "Ingress", nodes, *ports) for ports in everything),
        (nodes, "Ingress", service, "tcp", 8443, 8443),
        (nodes, "Egress", nodes, "-1", None, None),
        (nodes, "Egress", service, "tcp", 9443, 9443),
        (nodes, "Egress", "S3PrefixList", "tcp", 0, 65535),
        (nodes, "Egress", "Vpc", "tcp", 443, 443),
        (service, "Ingress", nodes, "tcp", 9443, 9443),
        (service, "Egress", nodes, "tcp", 8443, 8443),
        ("Endpoints", "Ingress", nodes, "tcp", 443, 443),
        ("Endpoints", "Egress", "127.0.0.1/32", "-1", None, None),
        ("Ssh", "Ingress", "SshCidr", "tcp", 22, 22),
        ("Ssh", "Egress", "127.0.0.1/32", "-1", None, None),
    }


def port(rule):
    others = ("SourceSecurityGroupId", "DestinationSecurityGroupId", "DestinationPrefixListId", "CidrIp")
    (peer,) = [rule[other] for other in others if other in rule]
    if isinstance(peer, dict):
        peer = peer["Ref"] if "Ref" in peer else peer["Fn::GetAtt"][0]
    return peer, rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort")


def test_distances_are_what_the_page_says_they_are():
    """There and back along the great circle from Paris at two thirds of the speed of light."""
    cities = {"Stockholm": (59.33, 18.07), "Dublin": (53.35, -6.26), "Zaragoza": (41.65, -0.89), "London": (51.51, -0.13)}
    cities |= {"Paris": (48.86, 2.35), "Milan": (45.46, 9.19), "Frankfurt": (50.11, 8.68), "Zurich": (47.37, 8.54)}
    for row in REGIONS:
        a, b, c, d = map(math.radians, (*cities[row["place"]], *cities["Paris"]))
        h = math.sin((a - c) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((b - d) / 2) ** 2
        assert float(row["least_ms_from_paris"]) == pytest.approx(2 * 2 * 6371 * math.asin(math.sqrt(h)) / (299.792458 * 2 / 3), abs=0.05)
    assert {row["region"] for row in REGIONS if row["eu"] == "false"} == {"eu-west-2", "eu-central-2"}


def test_prices_say_of_when_they_are():
    for row in REGIONS:
        assert float(row["usd_per_hour"]) > 0 and row["currency_year"] == "2023"
        assert (float(row["m7i_usd_per_hour"]) > float(row["usd_per_hour"]) and row["m7i_year"] == "2026") if row["m7i_usd_per_hour"] else not row["m7i_year"]
    assert [row["place"] for row in REGIONS if not row["m7i_usd_per_hour"]] == ["Zurich"]


# --- The stack that it makes -----------------------------------------------------------------------------------------------------------


def test_a_stack_comes_changes_and_goes(cloud, template):
    hourly = {name for name, body in template["Resources"].items() if body.get("Condition") == "IsRunning"}
    assert {template["Resources"][name]["Type"] for name in hourly} == {"AWS::EMR::Cluster", "AWS::EC2::VPCEndpoint"} and len(hourly) == 6
    always = {name for name, body in template["Resources"].items() if "Condition" not in body}

    assert cloud.change(Running="no") == {("Add", name) for name in always}
    assert cloud.clusters() == [] and cloud.endpoints() == ["s3"]
    stack = cloud.stack()
    assert "ClusterId" not in stack and stack["HubPort"] == "9443"
    assert len(cloud.secretsmanager.get_secret_value(SecretId=stack["HubPassword"])["SecretString"]) == 32
    for bucket in (stack["DataBucket"], stack["LogsBucket"]):
        rule = cloud.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert cloud.s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"

    assert cloud.change(Running="yes") == {("Add", name) for name in hourly}
    assert len(cloud.clusters()) == 1 and len(cloud.endpoints()) == 6
    described = cloud.emr.describe_cluster(ClusterId=cloud.stack()["ClusterId"])["Cluster"]
    assert described["ReleaseLabel"] == "emr-7.13.0" and described["LogUri"] == f"s3://{stack['LogsBucket']}/emr/"
    tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
    assert tags == {"fruits": "fruits", "for-use-with-amazon-emr-managed-policies": "true"}

    # Another release, and SSH, are a change of parameters.
    changed = cloud.change(Running="no", Release="emr-6.9.0", SshCidr="10.1.0.0/16", KeyName="key")
    assert changed == {("Remove", name) for name in hourly} | {("Add", "Ssh")}
    cloud.change(Running="yes", Release="emr-6.9.0", SshCidr="10.1.0.0/16", KeyName="key")
    described = cloud.emr.describe_cluster(ClusterId=cloud.stack()["ClusterId"])["Cluster"]
    assert described["ReleaseLabel"] == "emr-6.9.0" and len(described["Ec2InstanceAttributes"]["AdditionalMasterSecurityGroups"]) == 1

    cloud.cloudformation.delete_stack(StackName="fruits")
    assert cloud.clusters() == [] and cloud.endpoints() == []
    assert not cloud.iam.list_roles()["Roles"] and not cloud.iam.list_groups()["Groups"]
    assert sorted(cloud.buckets()) == sorted([stack["DataBucket"], stack["LogsBucket"]])  # data outlives the stack


# --- Who may do what -------------------------------------------------------------------------------------------------------------------

HERE = f"{REGION}:123456789012"
OURS = {"elasticmapreduce__ResourceTag___fruits": "fruits"}
OTHERS = {"elasticmapreduce__ResourceTag___fruits": "somebody-else"}
CLUSTER = f"arn:aws:elasticmapreduce:{HERE}:cluster/j-1"
ENDPOINT = f"arn:aws:ec2:{HERE}:vpc-endpoint/vpce-1"
INSTANCE = f"arn:aws:ec2:{HERE}:instance/i-1"
ZONE = "arn:aws:route53:::hostedzone/Z1"

# action, resource ({} is filled from the stack), what else IAM knows of the call
SEEING = [
    ("cloudformation:DescribeStacks", "{StackId}", {}),
    ("cloudformation:ListStackResources", "{StackId}", {}),
    ("elasticmapreduce:DescribeCluster", CLUSTER, OURS),
    ("elasticmapreduce:ListInstances", CLUSTER, OURS),
    ("elasticmapreduce:ListSteps", CLUSTER, OURS),
    ("s3:ListBucket", "arn:aws:s3:::{DataBucket}", {}),
    ("s3:GetObject", "arn:aws:s3:::{DataBucket}/Results/part-0.parquet", {}),
    ("s3:GetObject", "arn:aws:s3:::{DataBucket}/jupyter/jovyan/report.ipynb", {}),
    ("s3:GetObject", "arn:aws:s3:::{LogsBucket}/emr/j-1/steps/stderr.gz", {}),
]
RUNNING = [
    ("cloudformation:CreateChangeSet", "{StackId}", {}),
    ("cloudformation:ExecuteChangeSet", "{StackId}", {}),
    ("elasticmapreduce:RunJobFlow", "*", {"elasticmapreduce__RequestTag___fruits": "fruits"}),
    ("elasticmapreduce:TerminateJobFlows", CLUSTER, OURS),
    ("elasticmapreduce:AddJobFlowSteps", CLUSTER, OURS),
    ("elasticmapreduce:CancelSteps", CLUSTER, OURS),
    ("elasticmapreduce:ModifyCluster", CLUSTER, OURS),
    ("elasticmapreduce:ModifyInstanceGroups", CLUSTER, OURS),
    ("elasticmapreduce:PutManagedScalingPolicy", CLUSTER, OURS),
    ("elasticmapreduce:PutAutoTerminationPolicy", CLUSTER, OURS),
    ("iam:PassRole", "{ServiceRole}", {"iam__PassedToService": "elasticmapreduce.amazonaws.com"}),
    ("iam:PassRole", "{NodeRole}", {"iam__PassedToService": "ec2.amazonaws.com"}),
    ("ec2:CreateVpcEndpoint", f"arn:aws:ec2:{HERE}:vpc/{{Vpc}}", {}),
    ("ec2:CreateVpcEndpoint", f"arn:aws:ec2:{HERE}:subnet/{{Subnet}}", {}),
    ("ec2:CreateVpcEndpoint", f"arn:aws:ec2:{HERE}:security-group/{{Endpoints}}", {}),
    ("ec2:CreateVpcEndpoint", ENDPOINT, {"aws__RequestTag___fruits": "fruits"}),
    ("ec2:CreateTags", ENDPOINT, {"ec2__CreateAction": "CreateVpcEndpoint"}),
    ("ec2:DeleteVpcEndpoints", ENDPOINT, {"aws__ResourceTag___fruits": "fruits"}),
    ("route53:AssociateVPCWithHostedZone", ZONE, {"route53__VPCs": f"VPCId={{Vpc}},VPCRegion={REGION}"}),
    ("s3:PutObject", "arn:aws:s3:::{DataBucket}/fruits/0123456789abcdef/manifest.json", {}),
    ("s3:PutObject", "arn:aws:s3:::{DataBucket}/Test/apple/1.jpg", {}),
    ("s3:DeleteObject", "arn:aws:s3:::{DataBucket}/Test/apple/1.jpg", {}),
    ("secretsmanager:GetSecretValue", "{HubPassword}", {}),
    ("kms:Decrypt", "{Key}", {"kms__ViaService": f"secretsmanager.{REGION}.amazonaws.com"}),
    ("ssm:StartSession", INSTANCE, {"ssm__resourceTag___fruits": "fruits"}),
    ("ssm:StartSession", f"arn:aws:ssm:{REGION}::document/AWS-StartPortForwardingSession", {}),
    ("ssm:TerminateSession", f"arn:aws:ssm:{HERE}:session/ada-0123456789abcdef0", {}),
]
NOBODYS = [
    ("cloudformation:UpdateStack", f"arn:aws:cloudformation:{HERE}:stack/payroll/1", {}),
    ("cloudformation:DeleteStack", "{StackId}", {}),
    ("elasticmapreduce:RunJobFlow", "*", {}),
    ("elasticmapreduce:TerminateJobFlows", CLUSTER, OTHERS),
    ("elasticmapreduce:AddTags", CLUSTER, {"elasticmapreduce__RequestTag___fruits": "fruits", **OTHERS}),
    ("elasticmapreduce:DescribeCluster", CLUSTER, OTHERS),
    ("elasticmapreduce:PutBlockPublicAccessConfiguration", "*", {}),
    ("iam:PassRole", "{NodeRole}", {"iam__PassedToService": "lambda.amazonaws.com"}),
    ("iam:PassRole", "arn:aws:iam::123456789012:role/Admin", {"iam__PassedToService": "ec2.amazonaws.com"}),
    ("iam:PutRolePolicy", "{NodeRole}", {}),
    ("iam:AttachGroupPolicy", "arn:aws:iam::123456789012:group/{Readers}", {}),
    ("iam:AddUserToGroup", "arn:aws:iam::123456789012:group/{Engineers}", {}),
    ("iam:CreatePolicyVersion", "{EngineerPolicy}", {}),
    ("iam:CreateAccessKey", "arn:aws:iam::123456789012:user/ada", {}),
    ("ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{HERE}:security-group/{{Nodes}}", {}),
    ("ec2:RunInstances", INSTANCE, {}),
    ("ec2:CreateTags", INSTANCE, {}),
    ("ec2:CreateVpcEndpoint", f"arn:aws:ec2:{HERE}:vpc/vpc-other", {}),
    ("ec2:DeleteVpcEndpoints", ENDPOINT, {"aws__ResourceTag___fruits": "somebody-else"}),
    ("route53:AssociateVPCWithHostedZone", ZONE, {"route53__VPCs": f"VPCId=vpc-other,VPCRegion={REGION}"}),
    ("s3:GetObject", "arn:aws:s3:::{DataBucket}/fruits/certificates.zip", {}),
    ("s3:PutBucketPolicy", "arn:aws:s3:::{DataBucket}", {}),
    ("s3:DeleteBucket", "arn:aws:s3:::{DataBucket}", {}),
    ("s3:DeleteObjectVersion", "arn:aws:s3:::{DataBucket}/Test/apple/1.jpg", {}),
    ("s3:DeleteObject", "arn:aws:s3:::{LogsBucket}/access/1", {}),
    ("s3:GetObject", "arn:aws:s3:::payroll/2026.csv", {}),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:other", {}),
    ("secretsmanager:PutSecretValue", "{HubPassword}", {}),
    ("kms:Decrypt", "{Key}", {}),
    ("kms:ScheduleKeyDeletion", "{Key}", {}),
    ("ssm:StartSession", INSTANCE, {"ssm__resourceTag___fruits": "somebody-else"}),
    ("ssm:StartSession", f"arn:aws:ssm:{HERE}:document/SSM-SessionManagerRunShell", {}),
    ("ssm:StartSession", INSTANCE, {"ssm__resourceTag___fruits": "fruits", "ssm__SessionDocumentAccessCheck": "false"}),
    ("ssm:SendCommand", INSTANCE, {"ssm__resourceTag___fruits": "fruits"}),
    ("ssm:TerminateSession", f"arn:aws:ssm:{HERE}:session/eve-0123456789abcdef0", {}),
]


@pytest.fixture(scope="module")
def rights():
    """Whether someone may do a call, by the policies as the stack has made them. Names in braces are those that the stack gave."""
    with started() as cloud:
        cloud.start()
        resources = cloud.cloudformation.describe_stack_resources(StackName="fruits")["StackResources"]
        names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources if "PhysicalResourceId" in resource} | cloud.stack()
        node_policy = cloud.iam.get_role_policy(RoleName=names["NodeRole"], PolicyName="this-cluster")["PolicyDocument"]
        documents = {"Nodes": [ast.literal_eval(node_policy)]}  # moto gives it back as Python writes it
        for group in ("Readers", "Engineers"):
            arns = [policy["PolicyArn"] for policy in cloud.iam.list_attached_group_policies(GroupName=names[group])["AttachedPolicies"]]
            documents[group] = [cloud.iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] for arn in arns]
        for role in ("ServiceRole", "NodeRole"):
            names[role] = cloud.iam.get_role(RoleName=names[role])["Role"]["Arn"]
        names["Key"] = f"arn:aws:kms:{HERE}:key/{names['Key']}"

    def may(who, action, resource, context):
        context = {key: value.format(**names) for key, value in context.items()}
        return allowed(documents[who], action, resource.format(**names), **context)

    may.documents = documents
    return may


def named(calls):
    return pytest.mark.parametrize("action, resource, context", calls, ids=[f"{call[0]}-{number}" for number, call in enumerate(calls)])


@named(SEEING)
def test_readers_and_engineers_see(rights, action, resource, context):
    assert rights("Readers", action, resource, context) and rights("Engineers", action, resource, context)


@named(RUNNING)
def test_engineers_run_it_and_readers_do_not(rights, action, resource, context):
    assert rights("Engineers", action, resource, context) and not rights("Readers", action, resource, context)


@named(NOBODYS)
def test_neither_may(rights, action, resource, context):
    assert not rights("Engineers", action, resource, context) and not rights("Readers", action, resource, context)


@pytest.mark.parametrize(
    "may, action, resource",
    [
        (True, "s3:GetObject", "arn:aws:s3:::{DataBucket}/fruits/0123456789abcdef/node.sh"),
        (True, "s3:PutObject", "arn:aws:s3:::{DataBucket}/Results/part-0.parquet"),
        (True, "s3:PutObject", "arn:aws:s3:::{DataBucket}/jupyter/jovyan/a.ipynb"),
        (True, "s3:PutObject", "arn:aws:s3:::{LogsBucket}/emr/j-1/node/syslog.gz"),
        (True, "secretsmanager:GetSecretValue", "{HubPassword}"),
        (True, "kms:GenerateDataKey", "{Key}"),
        (True, "ssmmessages:OpenDataChannel", "*"),
        (False, "s3:PutObject", "arn:aws:s3:::{DataBucket}/fruits/0123456789abcdef/node.sh"),
        (False, "s3:PutObject", "arn:aws:s3:::{DataBucket}/fruits/certificates.zip"),
        (False, "s3:PutObject", "arn:aws:s3:::{LogsBucket}/access/1"),
        (False, "s3:GetObject", "arn:aws:s3:::payroll/2026.csv"),
        (False, "s3:PutObject", "arn:aws:s3:::payroll/2026.csv"),
        (False, "secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:other"),
        (False, "elasticmapreduce:RunJobFlow", "*"),
        (False, "iam:PassRole", "{ServiceRole}"),
        (False, "ec2:RunInstances", INSTANCE),
    ],
)
def test_a_notebook_may_what_it_needs(rights, may, action, resource):
    assert rights("Nodes", action, resource, {}) is may


def test_readers_do_nothing_but_look(rights):
    actions = {
        action
        for document in rights.documents["Readers"]
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
    }
    assert len(actions) > 10 and all(re.match(r"\w+:(Describe|Get|List)[A-Z]", action) for action in actions)
    assert not any(action.startswith(("secretsmanager:", "kms:", "ssm:", "sts:", "iam:")) for action in actions)


def test_policies_fit_into_iam(rights):
    # A managed policy has at most 6,144 characters, a role's own ones 10,240 together; blanks do not count.
    sizes = {who: [len(json.dumps(document, separators=(",", ":"))) for document in documents] for who, documents in rights.documents.items()}
    assert max(sizes["Engineers"]) <= 6_144 and sum(sizes["Nodes"]) <= 10_240, sizes


def test_the_evaluator_decides_as_iam_does():
    allow = {"Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*"}]}
    deny = {"Statement": {"Effect": "Deny", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/private/*"]}}
    assert allowed([allow, deny], "s3:getobject", "arn:aws:s3:::b/a") and not allowed([allow, deny], "s3:GetObject", "arn:aws:s3:::b/private/a")
    assert not allowed([allow], "s3:GetObject", "arn:aws:s3:::c/a") and not allowed([], "s3:GetObject", "arn:aws:s3:::b/a")
    tagged = {"Statement": {"Effect": "Allow", "Action": "a:B", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/t": ["x", "y"]}}}}
    assert allowed([tagged], "a:B", aws__ResourceTag___t="y") and not allowed([tagged], "a:B") and not allowed([tagged], "a:B", aws__ResourceTag___t="z")
    with pytest.raises(KeyError):
        allowed([{"Statement": {"Effect": "Allow", "Action": "a:B", "Resource": "*", "Condition": {"DateLessThan": {"aws:CurrentTime": "x"}}}}], "a:B")
