"""The bundle on machines where nothing is installed: a node of a cluster, and JupyterHub's container on it, each an old Debian."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from conftest import ROOT, SAMPLE
from elftools.elf.elffile import ELFFile
from test_browser import save

OLDEST_GLIBC = (2, 17)
BUCKET = "company"
NOTEBOOK = "03-data-on-s3.ipynb"
# What stands on a node for programs that only a real one has. The container is a folder of the node's; docker's events end at once.
DOCKER = '#!/bin/sh\n[ "$1" != events ] || exit 0\n[ "$1 $2 $3" = "exec -i jupyterhub" ] || exit 125\nshift 3\nexec chroot /srv/jupyterhub "$@"\n'
SYSTEMCTL = '#!/bin/sh\necho "$@" >>/var/log/systemctl\n'
HUB = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.PAMAuthenticator.open_sessions = False
c.Spawner.ip = "127.0.0.1"
c.Spawner.default_url = "/tree"
c.Spawner.cmd = ["python3", "-m", "jupyterhub.singleuser"]
c.Spawner.env_keep.extend({variables})
"""


def script(*command, **environment):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def bundle():
    return ROOT / script(ROOT / "bootstrap" / "bundle.sh", FRUITS_PROFILE="dev")


class Machine:
    """A folder as a machine of its own, as far as files go; the network and the processes are this machine's."""

    # Mounted for one command alone, so that nothing stays mounted whatever happens.
    ENTER = (
        'for root in "$0" "$0/srv/jupyterhub"; do if [ -d "$root/proc" ]; then mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"; fi; done;'
        ' exec chroot "$0" "$@"'
    )

    def __init__(self, root, variables):
        self.root, self.variables = root, {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", **variables}

    def command(self, *words):
        return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", self.ENTER, str(self.root), *map(str, words)]

    def run(self, *words, status=0, **options):
        done = subprocess.run(self.command(*words), capture_output=True, text=True, env=self.variables, **options)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def node(bundle, s3, tmp_path_factory):
    """A node with nothing of ours on it; the bundle and photos lie on S3."""
    if os.getuid():
        pytest.skip("another root folder needs the rights of root")
    plain = script(ROOT / "tests" / "old_machine.sh")
    root = tmp_path_factory.mktemp("node") / "root"
    subprocess.run(["cp", "-a", plain, root], check=True)
    subprocess.run(["cp", "-a", plain, root / "srv/jupyterhub"], check=True)
    for name, text in {"docker": DOCKER, "systemctl": SYSTEMCTL}.items():
        (root / "usr/local/bin" / name).write_text(text)
        (root / "usr/local/bin" / name).chmod(0o755)
    (root / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
    s3.upload(SAMPLE, BUCKET, "Test")
    for file in bundle.iterdir():
        s3.client.upload_file(str(file), BUCKET, f"fruits/{bundle.name}/{file.name}")
    shutil.copy(bundle / "node.sh", root / "node.sh")
    variables = {
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": "id-of-a-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
        "AWS_REGION": "eu-west-3",
        "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    yield Machine(root, variables)
    shutil.rmtree(root)  # gigabytes; what was mounted for commands is not there for us


def needed_glibc(file):
    """The newest version of glibc whose symbols an ELF file asks for."""
    needs = ELFFile(file).get_section_by_name(".gnu.version_r")
    names = [auxiliary.name for _, versions in (needs.iter_versions() if needs else ()) for auxiliary in versions]
    return max((tuple(map(int, name[6:].split("."))) for name in names if re.fullmatch(r"GLIBC_[0-9.]+", name)), default=(0,))


def test_what_is_in_the_bundle(bundle, tmp_path):
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["versions"]["evcxr_jupyter"] == "0.22.0" and set(manifest["files"]) == {"fruits.tar.gz", "node.sh"}
    subprocess.run(["tar", "-xzf", bundle / "fruits.tar.gz", "-C", tmp_path], check=True)
    too_new, programs = {}, set()
    for path in tmp_path.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                programs.add(path.name)
                if (needed := needed_glibc(file)) > OLDEST_GLIBC:
                    too_new[path.name] = needed
            elif path.suffix in (".json", ".toml", ".sh") or path.name == "cargo":
                assert str(ROOT) not in path.read_text(), f"{path} names a folder of this machine"
    assert (tmp_path / "kit" / "spark" / "fruits").is_file()
    assert {"fruits", "evcxr_jupyter", "rustc", "rust-lld", "libfruits_kernel.so"} <= programs and too_new == {}
    assert script(ROOT / "bootstrap" / "bundle.sh", FRUITS_PROFILE="dev") == str(bundle), "made again, it is the same"


def test_a_damaged_or_missing_bundle_is_refused(node, bundle, s3):
    where = f"s3://{BUCKET}/fruits/{bundle.name}"
    assert "is damaged: its SHA-256 is not 00" in node.run("bash", "/node.sh", where, "00", status=1)
    s3.client.put_object(Bucket=BUCKET, Key="fruits/half/fruits.tar.gz", Body=(bundle / "fruits.tar.gz").read_bytes()[:1_000_000])
    assert "is damaged" in node.run("bash", "/node.sh", f"s3://{BUCKET}/fruits/half", sha256(bundle), status=1)
    said = node.run("bash", "/node.sh", "s3://no-such-bucket/fruits/x", sha256(bundle), status=1)
    assert "NoSuchBucket" in said or "404" in said
    assert "cannot fetch s3://no-such-bucket/fruits/x/fruits.tar.gz" in said
    assert "usage" in node.run("bash", "/node.sh", status=1)
    assert list((node.root / "opt").iterdir()) == [] and list((node.root / "tmp").iterdir()) == []


def sha256(bundle):
    return json.loads((bundle / "manifest.json").read_text())["files"]["fruits.tar.gz"]["sha256"]


@pytest.fixture(scope="module")
def ready(node, bundle):
    """The node after its bootstrap action."""
    where = f"s3://{BUCKET}/fruits/{bundle.name}"
    print(node.run("bash", "/node.sh", where, sha256(bundle)))
    before = (node.root / "opt/fruits").stat()
    assert "is there already" in node.run("bash", "/node.sh", where, sha256(bundle))
    assert (node.root / "opt/fruits").stat() == before, "a second run changes nothing"
    return node


def test_the_binary_on_a_node(ready, s3):
    said = ready.run("fruits", "features", f"s3://{BUCKET}/Test", "--out", f"s3://{BUCKET}/from-a-node")
    assert "96 photos with features, " in said and "failure" not in said
    assert s3.client.head_object(Bucket=BUCKET, Key="from-a-node/_SUCCESS")


@pytest.fixture(scope="module")
def hub(ready, s3, tmp_path_factory):
    """JupyterHub in its container, after the step: its address, and the password that the secret holds."""
    container = Machine(ready.root / "srv/jupyterhub", ready.variables)

    def made():  # as EMR makes it
        shutil.rmtree(container.root)
        subprocess.run(["cp", "-a", script(ROOT / "tests" / "old_machine.sh"), container.root], check=True)
        container.run("useradd", "--create-home", "--shell", "/bin/bash", "jovyan")
        container.run("chpasswd", input="jovyan:jupyter\n")

    made()
    secretsmanager = boto3_client("secretsmanager", s3.endpoint)
    password = secrets.token_urlsafe()
    secret = secretsmanager.create_secret(Name="hub", SecretString=password)["ARN"]
    step = ("/opt/fruits/emr/jupyterhub.sh", secret, f"s3://{BUCKET}/jupyter")
    said = ready.run(*step)
    print(said)
    assert "kernel ready after" in said and password not in said
    s3.client.put_object(Bucket=BUCKET, Key=f"jupyter/jovyan/{NOTEBOOK}", Body=b"worked on")
    again = ready.run(*step)
    print(again)
    assert "the kernel is in the container already" in again
    assert s3.client.get_object(Bucket=BUCKET, Key=f"jupyter/jovyan/{NOTEBOOK}")["Body"].read() == b"worked on"
    systemctl = (ready.root / "var/log/systemctl").read_text()
    assert "enable --now fruits-awake" in systemctl and "restart fruits-hub" in systemctl

    # From here on it is another container: what systemd runs has put password and kernel there.
    made()
    (line,) = re.findall(r"^ExecStart=(.*)$", (ready.root / "etc/systemd/system/fruits-hub.service").read_text(), re.M)
    said = ready.run(*line.split())
    print(said)
    assert "the container has password and kernel" in said and password not in said

    # On EMR, notebooks come from S3 by its jupyter-s3-conf.
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, container.root / "home/jovyan")
    proxy = script("bash", "-c", f"source {ROOT}/bootstrap/hub/proxy.sh; echo $PROXY")
    port, hub_port, api_port = free_ports(3)
    where = {"FRUITS_S3_PHOTOS": f"s3://{BUCKET}/Test", "FRUITS_S3_RESULTS": f"s3://{BUCKET}/Results"}
    variables = container.variables | where | {"CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(), "HOME": "/root"}
    config = HUB.format(port=port, hub_port=hub_port, api_port=api_port, variables=[name for name in variables if name.startswith(("AWS", "FRUITS"))])
    (container.root / "srv/jupyterhub_config.py").write_text(config)
    log = tmp_path_factory.mktemp("hub") / "log"
    commands = [
        [f"{proxy}/node_modules/.bin/configurable-http-proxy", "--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={api_port}"]
        + [f"--default-target=http://127.0.0.1:{hub_port}", f"--error-target=http://127.0.0.1:{hub_port}/hub/error"],
        container.command("sh", "-c", "cd /srv && exec python3 -m jupyterhub --config /srv/jupyterhub_config.py"),
    ]
    processes = []
    try:
        with log.open("w") as file:
            for command, path in zip(commands, (os.environ["PATH"], variables["PATH"])):
                processes.append(subprocess.Popen(command, env=variables | {"PATH": path}, stdin=subprocess.DEVNULL, stdout=file, stderr=file))
        url = f"http://127.0.0.1:{port}"
        until(lambda: urllib.request.urlopen(f"{url}/hub/login").close(), processes, log)
        yield url, password, container
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def boto3_client(service, endpoint):
    import boto3

    return boto3.client(service, endpoint_url=endpoint, region_name="eu-west-3", aws_access_key_id="id", aws_secret_access_key="key")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(answers, processes, log):
    for _ in range(300):
        assert all(process.poll() is None for process in processes), log.read_text()
        try:
            return answers()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_a_notebook_in_the_container_works_on_s3(hub, s3, browser):  # noqa: F811
    url, password, container = hub
    page = browser.new_context(viewport={"width": 1200, "height": 1000}).new_page()
    for attempt in "jupyter", password:
        page.goto(f"{url}/hub/login?next=/hub/spawn")
        page.fill("#username_input", "jovyan")
        page.fill("#password_input", attempt)
        page.click("#login_submit")
        if attempt == "jupyter":
            page.get_by_text("Invalid username or password").wait_for()
    page.wait_for_url("**/user/jovyan/tree*")
    page.goto(f"{url}/user/jovyan/notebooks/{NOTEBOOK}")
    page.wait_for_function("window.Jupyter && Jupyter.notebook && Jupyter.notebook.kernel && Jupyter.notebook.kernel.is_connected()", timeout=120_000)
    start = time.time()
    page.evaluate("Jupyter.notebook.execute_all_cells()")
    page.locator(".output_subarea iframe[srcdoc]").wait_for(timeout=240_000)
    print(f"the notebook took {time.time() - start:.1f} s")
    text = page.locator("#notebook-container").inner_text()
    assert "96 photos, 0 of them from an earlier run, 0 failures" in text and "96 photos, 96 of them from an earlier run" in text
    assert page.locator(".output_stderr").count() == 0
    page.locator(".output_subarea iframe[srcdoc]").scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    save(page, "container")
    exported = page.request.get(f"{url}/user/jovyan/nbconvert/html/{NOTEBOOK}").text()  # as the menu "Download as: HTML" does
    assert "prefers-color-scheme" in exported, "the page of our template"
    assert not re.search(r'(src|href)="(?!data:|#)', exported), "it needs no network"
    page.context.close()
    for name in ["Results", "Results-pca"]:
        assert s3.client.head_object(Bucket=BUCKET, Key=f"{name}/_SUCCESS")


def test_a_cell_with_another_crate_says_why_not(hub):
    container = hub[2]
    cell = "import sys; sys.argv = ['']\n" + (
        "from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel(kernel_name='fruits')\n"
        "shown = []\n"
        "client.execute_interactive(':dep leb128 = \"0.2\"', output_hook=lambda message: shown.append(str(message['content'])))\n"
        "client.execute_interactive('1 + 1', output_hook=lambda message: shown.append(str(message['content'])))\n"
        "manager.shutdown_kernel(now=True)\n"
        "print(shown)\n"
    )
    said = container.run("python3", "-c", cell)
    assert "built on another machine" in said, said
    assert "'text': '2" in said, "the kernel goes on\n" + said


@pytest.mark.parametrize("work, is_busy", [("while True: pass", True), ("time.sleep(60)", False)])
def test_a_kernel_that_computes_keeps_the_cluster_awake(work, is_busy, tmp_path):
    code = f"import time\nprint('started', flush=True)\n{work}"
    kit = tmp_path / "kit"  # other tests' kernels compute meanwhile
    kernel = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"FRUITS_KIT": str(kit)}, stdout=subprocess.PIPE)
    kernel.stdout.readline()
    watcher = subprocess.Popen(["bash", ROOT / "bootstrap/emr/awake.sh", "1", tmp_path / "isbusy", kit])
    try:
        end = time.monotonic() + (60 if is_busy else 3.5)
        while time.monotonic() < end and not (tmp_path / "isbusy").exists():
            time.sleep(0.1)
        assert (tmp_path / "isbusy").exists() == is_busy
    finally:
        for process in watcher, kernel:
            process.kill()
            process.wait()
