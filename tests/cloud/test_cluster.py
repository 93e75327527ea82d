"""What cluster.sh does, on an AWS that runs on this machine, and what it says when something is wrong."""

import functools
import hashlib
import http.server
import io
import json
import pathlib
import re
import subprocess
import threading
import zipfile

import pytest

from conftest import REGION, ROOT


NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def script(environment):
    """Runs cluster.sh; gives back all that it printed. It has only AWS_ENDPOINT_URL to find its AWS by, and nobody answers there."""

    def run(*arguments, status=0, answer="", **variables):
        process = subprocess.run(
            [ROOT / "bootstrap" / "cluster.sh", *arguments],
            env=environment | {"AWS_ENDPOINT_URL": NOBODY} | variables,
            input=answer,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.returncode == status, process.stdout
        return process.stdout

    return run


@pytest.fixture
def cluster(script, cloud):
    """Runs cluster.sh on an AWS of its own, for someone whose photos are on another S3."""
    return functools.partial(script, AWS_ENDPOINT_URL=cloud.endpoint, AWS_ENDPOINT_URL_S3=NOBODY)


@pytest.fixture
def bundle(tmp_path):
    """What bundle.sh makes, in small; in a folder with a name that a shell would trip over."""
    contents = {"fruits.tar.gz": b"a compiler, a kernel, a network", "node.sh": b"#!/bin/bash\n"}
    hashes = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    contents["manifest.json"] = json.dumps({"files": hashes}).encode()
    folder = tmp_path / "a $(touch oops) b" / hashlib.sha256(contents["manifest.json"]).hexdigest()[:16]
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def test_up_shows_what_it_would_do(cluster, cloud, bundle):
    said = cluster("up", "--bundle", bundle)
    assert "eu-west-3 (Paris, France)" in said and bundle.name in said and "emr-7.13.0 on m5.xlarge" in said
    assert "0.61 USD an hour at rest, at most 1.43 (a node 0.224 on demand and 0.05 for EMR" in said
    assert "nothing was done" in said
    assert not cloud.buckets() and not cloud.cloudformation.list_stacks()["StackSummaries"]
    assert "0.57 USD an hour at rest, at most 1.84" in cluster("up", AWS_REGION="eu-north-1", FRUITS_MAX_NODES="6")
    assert "no price known for r5.large in eu-west-3" in cluster("up", FRUITS_INSTANCE_TYPE="r5.large")


def test_up_offers_nodes_for_bf16(cluster):
    offer, warning = "FRUITS_INSTANCE_TYPE=m7i.xlarge with --precision bf16", "a Linux without AMX"
    assert offer in cluster("up")
    said = cluster("up", FRUITS_INSTANCE_TYPE="m7i.xlarge")
    assert "emr-7.13.0 on m7i.xlarge" in said and offer not in said and warning not in said
    assert "0.63 USD an hour at rest, at most 1.49 (a node 0.2352 on demand and 0.05 for EMR" in said
    # A price that nobody has told us is not made up, nor is it half of another.
    assert "no price known for m7i.xlarge in eu-central-2" in cluster("up", AWS_REGION="eu-central-2", FRUITS_INSTANCE_TYPE="m7i.xlarge")
    said = cluster("up", AWS_REGION="eu-central-2")
    assert "a node 0.253 on demand" in said and offer not in said
    assert warning in cluster("up", FRUITS_INSTANCE_TYPE="m7i.xlarge", FRUITS_RELEASE="emr-6.15.0")


def test_a_cluster_of_nodes_for_bf16(cluster, cloud, bundle):
    cluster("up", "--yes", "--bundle", bundle, FRUITS_INSTANCE_TYPE="m7i.xlarge")
    said = cluster("status")
    assert len(re.findall(r"^i-\w+  m7i.xlarge  (ON_DEMAND|SPOT)  RUNNING$", said, re.M)) == 3 and "at most 0.0" in said
    # The type stays when it is not named again.
    said = cluster("up", "--bundle", bundle)
    assert "a node 0.2352 on demand" in said and "no change" in said


def test_up_status_down(cluster, cloud, bundle, tmp_path):
    said = cluster("up", "--yes", "--bundle", bundle)
    stack = cloud.stack()
    assert stack["ClusterId"] in said and "a node 0.224 on demand" in said
    assert cloud.clusters() == [stack["ClusterId"]]
    assert cloud.endpoints() == ["ec2messages", "kms", "s3", "secretsmanager", "ssm", "ssmmessages"]
    parameters = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack["Parameters"]}
    assert parameters["Running"] == "yes" and parameters["Bundle"] == bundle.name and parameters["S3PrefixList"].startswith("pl-")
    assert parameters["BundleSha256"] == hashlib.sha256((bundle / "fruits.tar.gz").read_bytes()).hexdigest()

    # All of the bundle is there, and the certificate that EMR asks for.
    data = stack["DataBucket"]
    get = lambda key: cloud.s3.get_object(Bucket=data, Key=key)["Body"].read()
    for file in bundle.iterdir():
        assert get(f"fruits/{bundle.name}/{file.name}") == file.read_bytes()
    certificates = zipfile.ZipFile(io.BytesIO(get("fruits/certificates.zip")))
    assert sorted(certificates.namelist()) == ["certificateChain.pem", "privateKey.pem", "trustedCertificates.pem"]
    (tmp_path / "chain.pem").write_bytes(certificates.read("certificateChain.pem"))
    shown = subprocess.run(["openssl", "x509", "-in", tmp_path / "chain.pem", "-noout", "-text"], capture_output=True, text=True).stdout
    assert "DNS:*.eu-west-3.compute.internal" in shown

    # A second `up` changes nothing and uploads nothing.
    before = cloud.versions(data), stack.get("LastUpdatedTime"), cloud.clusters()
    events = len(cloud.cloudformation.describe_stack_events(StackName="fruits")["StackEvents"])
    assert "no change" in cluster("up", "--bundle", bundle)
    said = cluster("up", "--yes", "--bundle", bundle)
    assert "already" in said and stack["ClusterId"] in said
    assert before == (cloud.versions(data), cloud.stack().get("LastUpdatedTime"), cloud.clusters())
    assert len(cloud.cloudformation.describe_stack_events(StackName="fruits")["StackEvents"]) == events

    # Without --yes it shows what would change, and leaves no trace of having asked.
    said = cluster("up", "--bundle", bundle, FRUITS_MAX_NODES="6")
    assert re.search(r"Modify\s+Cluster\s", said) and "at most 1.98" in said
    open_sets = cloud.cloudformation.list_change_sets(StackName="fruits")["Summaries"]
    assert all(change["ExecutionStatus"] != "AVAILABLE" for change in open_sets)

    said = cluster("status")
    hours, usd = re.search(r"(\d\.\d) hours of nodes so far, at most (\d\.\d\d) USD", said).groups()
    assert f"photos: aws s3 sync PHOTOS s3://{data}/Test" in said and f'let photos_location = "s3://{data}/Test".to_string();' in said
    assert stack["ClusterId"] in said and float(hours) < 1 and float(usd) <= (float(hours) + 0.05) * 0.274 + 0.005
    assert len(re.findall(r"^i-\w+  m5.xlarge  (ON_DEMAND|SPOT)  RUNNING$", said, re.M)) == 3

    assert re.search(r"^== step: notebook kernel\t[A-Z]+$", said, re.M)

    # Down keeps the data.
    cloud.s3.put_object(Bucket=data, Key="Results/part-0.parquet", Body=b"rows")
    assert data in cluster("down")
    assert cloud.clusters() == [] and cloud.endpoints() == ["s3"] and get("Results/part-0.parquet") == b"rows"
    assert "no cluster" in cluster("down") and "nothing that costs by the hour" in cluster("status")
    assert not (ROOT / "oops").exists() and not pathlib.Path("oops").exists()


def test_a_cluster_that_ended_by_itself_is_followed_by_another(cluster, cloud, bundle):
    first, data = cloud.start()["ClusterId"], cloud.stack()["DataBucket"]
    cloud.s3.put_object(Bucket=data, Key="fruits/certificates.zip", Body=b"of the first")
    cloud.emr.terminate_job_flows(JobFlowIds=[first])
    assert "endpoints go on costing" in cluster("status")
    assert "has ended" in cluster("connect", status=1)
    said = cluster("up", "--yes", "--bundle", bundle)
    (second,) = cloud.clusters()
    assert second != first and second in said
    assert [key for key, _ in cloud.versions(data)].count("fruits/certificates.zip") == 2


def test_connect(cluster, cloud, environment, tmp_path):
    assert "there is no cluster" in cluster("connect", status=1)
    stack = cloud.start()
    password = cloud.secretsmanager.get_secret_value(SecretId=stack["HubPassword"])["SecretString"]
    assert len(password) == 32

    said = cluster("connect", status=1)
    assert "session-manager-plugin is needed" in said and stack["HubPassword"] in said and password not in said

    # A plugin that shows what it was asked for: the first argument is AWS's answer, the fifth what the command line had sent.
    plugin = tmp_path / "session-manager-plugin"
    plugin.write_text('#!/bin/sh\n[ $# -gt 3 ] && printf "%s\\n" "$5"\nexit 0\n')
    plugin.chmod(0o755)
    said = cluster("connect", "--password", PATH=f"{environment['PATH']}:{tmp_path}")
    assert "https://127.0.0.1:9443" in said and password in said
    asked = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    primary = cloud.emr.list_instances(ClusterId=stack["ClusterId"], InstanceGroupTypes=["MASTER"])["Instances"][0]["Ec2InstanceId"]
    assert asked["Target"] == primary
    assert asked["DocumentName"] == "AWS-StartPortForwardingSession"
    assert asked["Parameters"] == {"portNumber": ["9443"], "localPortNumber": ["9443"]}


def test_down_everything_leaves_nothing(cluster, cloud):
    stack = cloud.start()
    data, logs = stack["DataBucket"], stack["LogsBucket"]
    for text in (b"old", b"new"):
        cloud.s3.put_object(Bucket=data, Key="photo", Body=text)
    cloud.s3.delete_object(Bucket=data, Key="photo")
    cloud.s3.put_object(Bucket=logs, Key="emr/log", Body=b"a log")
    cloud.s3.create_bucket(Bucket="fruits-databucket-of-others", CreateBucketConfiguration={"LocationConstraint": REGION})
    cloud.s3.put_bucket_tagging(Bucket="fruits-databucket-of-others", Tagging={"TagSet": [{"Key": "fruits", "Value": "other"}]})

    said = cluster("down", "--everything", status=1, answer="yes\n")
    assert data in said and logs in said and "nothing was removed" in said
    assert len(cloud.buckets()) == 3 and cloud.clusters()

    said = cluster("down", "--everything", answer="fruits\n")
    assert "left: no bucket" in said
    assert cloud.buckets() == ["fruits-databucket-of-others"]
    assert not cloud.clusters() and not cloud.endpoints()
    assert not cloud.iam.list_roles()["Roles"] and not cloud.iam.list_groups()["Groups"] and not cloud.secretsmanager.list_secrets()["SecretList"]
    assert "there is no stack fruits" in cluster("down", "--everything", "--yes")
    assert "there is no stack" not in cluster("down") and "no cluster" in cluster("status")


def test_a_removal_that_was_cut_off_can_go_on(cluster, cloud):
    cloud.change(Running="no")
    cloud.cloudformation.delete_stack(StackName="fruits")
    assert len(cloud.buckets()) == 2
    cluster("down", "--everything", "--yes")
    assert cloud.buckets() == []


def test_an_upload_that_was_cut_off_is_done_again(cluster, cloud, bundle):
    cloud.change(Running="no")
    data, prefix = cloud.stack()["DataBucket"], f"fruits/{bundle.name}/"
    cloud.s3.put_object(Bucket=data, Key=prefix + "fruits.tar.gz", Body=b"half")
    cluster("up", "--yes", "--bundle", bundle)
    for file in bundle.iterdir():
        assert cloud.s3.get_object(Bucket=data, Key=prefix + file.name)["Body"].read() == file.read_bytes()


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"AWS_REGION": "us-east-1"}, "us-east-1 is not one of the regions in bootstrap/emr/regions.csv: eu-north-1 eu-west-1"),
        ({"AWS_REGION": "eu-west-3; true"}, "is not one of the regions"),
        ({"AWS_REGION": "eu-west"}, "is not one of the regions"),
        ({"FRUITS_STACK": "a; touch oops"}, "FRUITS_STACK is a name of lower-case letters"),
        ({"AWS_ACCESS_KEY_ID": ""}, "there are no AWS credentials"),
        ({}, "no answer from AWS in eu-west-3"),
    ],
)
def test_mistakes_are_named(script, variables, said):
    answer = script("status", status=1, **variables)
    assert said in answer and len(answer.splitlines()) == 1, answer


@pytest.mark.parametrize("arguments", [[], ["start"], ["up", "--everything"], ["down", "--bundle", "x"], ["up", "--bundle"], ["status", "--yes"]])
def test_other_words_are_answered_by_the_usage(script, arguments):
    assert "cluster.sh up [--yes] [--bundle FOLDER]" in script(*arguments, status=2)


def test_what_up_is_given_is_looked_at(cluster):
    assert "its name is to be 16 hexadecimal digits" in cluster("up", "--bundle", "/dev/null", status=1)
    assert "fruits.tar.gz is missing" in cluster("up", "--bundle", "/nowhere/0123456789abcdef", status=1)
    assert "FRUITS_MAX_NODES is to be a number" in cluster("up", status=1, FRUITS_MAX_NODES="a lot")


def test_a_damaged_bundle_is_refused(cluster, cloud, bundle):
    (bundle / "fruits.tar.gz").write_bytes(b"something else")
    assert "damaged" in cluster("up", "--yes", "--bundle", bundle, status=1)
    assert not cloud.buckets()


def test_a_bucket_that_is_gone_is_named(cluster, cloud, bundle):
    cloud.change(Running="no")
    cloud.s3.delete_bucket(Bucket=cloud.stack()["DataBucket"])
    assert "a bucket of the stack fruits is gone" in cluster("up", "--yes", "--bundle", bundle, status=1)


@pytest.mark.parametrize(
    "code, said",
    [
        ("ExpiredToken", "the AWS credentials have expired"),
        ("InvalidClientTokenId", "AWS does not know these credentials"),
        ("AccessDenied", "members of the group Engineers may"),
        ("ServiceUnavailable", "AWS says: An error occurred (ServiceUnavailable)"),
    ],
)
def test_what_aws_refuses_is_said_in_a_sentence(script, code, said):
    class Refusal(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>".encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answer = script("status", status=1, AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert said in answer and len(answer.splitlines()) == 1, answer
