import contextlib
import os
import pathlib
import subprocess
import sys

import boto3
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "bootstrap" / "emr" / "template.yaml"
REGION = "eu-west-3"
KEYS = {"aws_access_key_id": "id-of-a-test", "aws_secret_access_key": "secret-of-a-test"}


class Cloud:
    """An AWS of one's own on this machine: clients by name, and what is in it."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.clients = {}

    def __getattr__(self, service):
        if service not in self.clients:
            self.clients[service] = boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **KEYS)
        return self.clients[service]

    def stack(self, name="fruits"):
        stack = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return stack | {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def change(self, **parameters):
        """Creates or updates the stack, as CloudFormation's `deploy` does: by a change set. Gives back what it changed."""
        kind = "UPDATE" if self.cloudformation.list_stacks(StackStatusFilter=["CREATE_COMPLETE", "UPDATE_COMPLETE"])["StackSummaries"] else "CREATE"
        names = {"StackName": "fruits", "ChangeSetName": f"change-{len(self.cloudformation.list_change_sets(StackName='fruits')['Summaries'])}"}
        values = {"S3PrefixList": "pl-0123456789abcdef0", "Bundle": "0" * 16, "BundleSha256": "0" * 64} | parameters
        self.cloudformation.create_change_set(
            **names,
            ChangeSetType=kind,
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        )
        changes = self.cloudformation.describe_change_set(**names)["Changes"]
        self.cloudformation.execute_change_set(**names)
        return {(change["ResourceChange"]["Action"], change["ResourceChange"]["LogicalResourceId"]) for change in changes}

    def start(self):
        """The stack with a cluster; it begins without one, as cluster.sh has it."""
        self.change(Running="no")
        self.change(Running="yes")
        return self.stack()

    def clusters(self):
        running = self.emr.list_clusters(ClusterStates=["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"])["Clusters"]
        return [cluster["Id"] for cluster in running]

    def endpoints(self):
        return sorted(
            endpoint["ServiceName"].removeprefix(f"com.amazonaws.{REGION}.")
            for endpoint in self.ec2.describe_vpc_endpoints()["VpcEndpoints"]
            if endpoint["State"] != "deleted"
        )

    def buckets(self):
        return [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]]

    def versions(self, bucket):
        page = self.s3.list_object_versions(Bucket=bucket)
        return {(item["Key"], item["VersionId"]) for item in page.get("Versions", [])}


@contextlib.contextmanager
def started():
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "cloud" / "aws_server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Cloud(server.stdout.readline().strip())
    server.stdin.close()
    server.wait()


@pytest.fixture
def cloud():
    with started() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def aws_folder():
    """Where the command line of AWS is: the one that cluster.sh brings along."""
    script = 'source "$0/bootstrap/env.sh" >&2 && venv emr "$REPO/bootstrap/emr/requirements.txt" >&2 && echo "$VENV/bin"'
    done = subprocess.run(["bash", "-c", script, ROOT], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def environment(aws_folder, tmp_path):
    """The variables of someone who has credentials, and no settings of AWS else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FRUITS_STACK"))}
    return kept | {
        "PATH": f"{aws_folder}:{os.environ['PATH']}",
        "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
