"""JupyterHub's container on a node, and what is in it after it was made anew. Node and container are folders with an old Debian."""

import contextlib
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import time

import pytest

from conftest import KEYS, REGION, ROOT

# What stands on the node for programs that only a real one has. A pipe tells of docker's events, and ends when its daemon does.
DOCKER = """#!/bin/sh
echo "$@" >>/var/log/docker
case "$1 $2 $3" in
"exec -i jupyterhub")
    shift 3
    case "$*" in *"tar -xf"*) sleep 2 ;; esac # a kernel is larger than the one here
    exec chroot /srv/jupyterhub "$@"
    ;;
"events --since "*) exec cat /run/events ;;
esac
exit 125
"""
SYSTEMCTL = '#!/bin/sh\necho "$@" >>/var/log/systemctl\n'
FRUITS = {
    "sha256": "0123\n",
    "kit/bin/cargo": "#!/usr/bin/python3\nprint('cargo')\n",
    "kernelspec/kernel.json": "{}\n",
    "notebooks/first.ipynb": "{}\n",
    "emr/check_kernel.py": "print('kernel ready')\n",
}
OPENS = "import crypt, spwd, sys; known = spwd.getspnam('jovyan').sp_pwdp; print(crypt.crypt(sys.stdin.read(), known) == known)"


class Node:
    """A node after its bootstrap action, with EMR's container; its files are its own, its network and processes are this machine's."""

    def __init__(self, root, plain, cloud):
        self.root, self.plain, self.container, self.image = root, plain, root / "srv/jupyterhub", root / "srv/image"
        self.log, self.events, self.keepers = root / "var/log/hub", None, []
        self.password = secrets.token_urlsafe()
        self.secret = cloud.secretsmanager.create_secret(Name="hub", SecretString=self.password)["ARN"]
        cloud.s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
        self.variables = {name.upper(): value for name, value in KEYS.items()} | {
            "PATH": "/srv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "AWS_ENDPOINT_URL": cloud.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.copy(root, "bin", "dev", "etc", "lib", "lib64", "sbin")
        for folder in "opt/fruits/emr", "proc", "run", "srv/bin", "tmp", "usr", "var/log":
            (root / folder).mkdir(parents=True)
        for name, text in {"docker": DOCKER, "systemctl": SYSTEMCTL}.items():
            (root / "srv/bin" / name).write_text(text)
            (root / "srv/bin" / name).chmod(0o755)
        for name, text in FRUITS.items():
            (root / "opt/fruits" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "opt/fruits" / name).write_text(text)
        shutil.copy(ROOT / "bootstrap/emr/jupyterhub.sh", root / "opt/fruits/emr")
        shutil.copytree(ROOT / "bootstrap/nbconvert", root / "opt/fruits/nbconvert")
        os.mkfifo(root / "run/events")
        self.copy(self.image, "bin", "dev", "etc", "home", "lib", "lib64", "opt", "sbin", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin")
        self.inside("useradd", "--create-home", "jovyan", root=self.image)
        self.inside("chpasswd", root=self.image, input="jovyan:jupyter\n")
        self.made()

    def copy(self, root, *names):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", self.plain / name, root / name], check=True)

    def inside(self, *words, root=None, **options):
        done = subprocess.run(["chroot", root or self.container, *words], env=self.variables, capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words, **options):
        """Starts a program on the node. What is mounted is so for it alone, and does not stay whatever happens."""
        mount = f'mount -t proc proc "$0/proc"; mount -o bind,ro "{self.plain}/usr" "$0/usr"; exec chroot "$0" "$@"'
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", mount, self.root]
        return subprocess.Popen([*enter, *words], env=self.variables, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, text=True, **options)

    @contextlib.contextmanager
    def step(self):
        process = self.start("/opt/fruits/emr/jupyterhub.sh", self.secret, "s3://data/jupyter", stdout=subprocess.PIPE)
        yield
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and self.password not in said, said

    def keep(self):
        """Runs what systemd would by the unit; afterwards docker has events to tell."""
        (line,) = re.findall(r"^ExecStart=(.*)$", (self.root / "etc/systemd/system/fruits-hub.service").read_text(), re.M)
        with self.log.open("a") as log:
            self.keepers.append(self.start(*line.split(), stdout=log, start_new_session=True))
        self.events = os.fdopen(self.until(self.open_events), "w", buffering=1)

    def open_events(self):
        try:
            return os.open(self.root / "run/events", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads
            return None

    def until(self, answers):
        end = time.monotonic() + 60
        while not (answer := answers()):
            assert time.monotonic() < end and self.keepers[-1].poll() is None, self.log.read_text()
            time.sleep(0.1)
        return answer

    def fillings(self):
        return self.log.read_text().count("the container has password and kernel")

    def copies(self):
        return (self.root / "var/log/docker").read_text().count("tar -xf")

    def tell(self, event):
        if self.events:
            self.events.write(event + "\n")

    def removed(self):
        shutil.rmtree(self.container)
        self.tell("die")

    def made(self):
        """The container is there, as EMR makes it: with the password that everybody knows."""
        subprocess.run(["cp", "-a", self.image, self.root / "srv/next"], check=True)
        (self.root / "srv/next").rename(self.container)
        self.tell("start")

    def docker_ends(self):
        self.events.close()
        self.events = None

    def opens(self, password):
        return self.inside("python3", "-c", OPENS, input=password) == "True\n"

    def check(self):
        assert self.opens(self.password) and not self.opens("jupyter")
        kernel = self.container / "usr/local/share/jupyter/kernels/fruits/kernel.json"
        assert kernel.read_text() == FRUITS["kernelspec/kernel.json"]
        assert "offline" in (self.container / "usr/local/etc/jupyter/jupyter_server_config.json").read_text()
        assert (self.container / "usr/local/share/jupyter/nbconvert/templates/offline/index.html.j2").is_file()
        assert (self.container / "opt/fruits/sha256").read_text() == FRUITS["sha256"]
        assert (self.container / "opt/fruits/kit/bin/cargo").read_text() == "#!/usr/bin/python3 -IS\nprint('cargo')\n"


@pytest.fixture
def node(cloud, tmp_path):
    if os.getuid():
        pytest.skip("another root folder needs the rights of root")
    plain = subprocess.run(ROOT / "tests" / "old_machine.sh", stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    node = Node(tmp_path / "node", pathlib.Path(plain), cloud)
    yield node
    for keeper in node.keepers:
        if keeper.poll() is None:
            os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait()
    shutil.rmtree(node.root)


def test_a_container_made_anew_has_kernel_and_password_again(node):
    assert node.opens("jupyter")
    with node.step():
        pass
    node.check()
    unit = (node.root / "etc/systemd/system/fruits-hub.service").read_text()
    assert "Restart=always" in unit and "WantedBy=multi-user.target" in unit
    assert {"enable fruits-hub", "restart fruits-hub"} <= set((node.root / "var/log/systemctl").read_text().splitlines())

    # Made anew while nobody looked: of that, docker tells nothing.
    node.removed()
    node.made()
    assert node.opens("jupyter") and not (node.container / "opt/fruits").exists()
    (node.root / "var/log/docker").unlink()
    node.keep()
    node.until(lambda: node.fillings() == 1)
    node.check()
    calls = (node.root / "var/log/docker").read_text()
    assert calls.index("chpasswd") < calls.index("tar -xf"), "the password goes in first"

    # Made anew before its eyes. The end of one and the start of another make it look.
    node.removed()
    node.made()
    node.until(lambda: node.fillings() == 3)
    node.check()

    # The step and systemd at once: one of them copies the kernel.
    before = node.copies()
    node.removed()
    with node.step():
        time.sleep(3)  # until both wait
        node.made()
    node.until(lambda: node.fillings() == 5)
    node.check()
    assert node.copies() == before + 1

    # Docker starts anew, and the container with it. What ends, systemd starts.
    node.docker_ends()
    assert node.keepers[-1].wait(60) == 0, node.log.read_text()
    node.removed()
    node.made()
    node.keep()
    node.until(lambda: node.fillings() == 6)
    node.check()

    assert not [name for name in ("hub", "docker", "systemctl") if node.password in (node.root / "var/log" / name).read_text()]
    assert node.password not in unit
