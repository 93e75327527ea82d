"""JupyterHub for one person on this machine. Started by hub.sh, in the folder that holds its state."""

import hmac
import os
import pathlib
import signal
import sys

from jupyterhub.auth import Authenticator
from jupyterhub.spawner import SimpleLocalProcessSpawner
from jupyterhub.utils import random_port

c = get_config()  # noqa: F821

# Taken out of the environment: the proxy, the notebook server and the kernels do not get it.
PASSWORD = os.environ.pop("FRUITS_HUB_PASSWORD")
USER = os.environ.pop("FRUITS_HUB_USER").lower()  # the hub makes names lower case
PORT, PROXY = os.environ.pop("FRUITS_HUB_PORT"), os.environ.pop("FRUITS_HUB_PROXY")


class OneUser(Authenticator):
    async def authenticate(self, handler, data):
        # Both are compared, in a time that does not tell which was wrong.
        user = hmac.compare_digest(self.normalize_username(data["username"]).encode(), USER.encode())
        password = hmac.compare_digest(data["password"].encode(), PASSWORD.encode())
        return USER if user and password else None


class Spawner(SimpleLocalProcessSpawner):
    async def stop(self, now=False):
        # The hub interrupts a server first, which then ends without its kernels. Told to terminate, it ends them too.
        if await self.poll() is None:
            await self._signal(signal.SIGTERM)
            await self.wait_for_death(20)
        await super().stop(now=True)


c.JupyterHub.authenticator_class = OneUser
c.Authenticator.allowed_users = {USER}

# Nothing listens elsewhere than on this machine.
c.JupyterHub.bind_url = f"http://127.0.0.1:{PORT}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{random_port()}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{random_port()}"
c.ConfigurableHTTPProxy.command = [f"{PROXY}/node_modules/.bin/configurable-http-proxy"]
c.Spawner.ip = "127.0.0.1"

# The notebook server runs as the user who started the hub, in that user's own home.
c.JupyterHub.spawner_class = Spawner
c.Spawner.cmd = [f"{sys.prefix}/bin/jupyterhub-singleuser"]
c.SimpleLocalProcessSpawner.home_dir_template = str(pathlib.Path.home())
c.Spawner.notebook_dir = os.environ["FRUITS_NOTEBOOKS"]
c.Spawner.default_url = "/lab/tree/notebooks"
c.JupyterHub.implicit_spawn_seconds = 0.1  # the address of a notebook opens it, also after a restart
# The environment is pinned, so the extension manager only shows what is there. Jupyter refuses to run as root unless told.
c.Spawner.args = ["--LabApp.extension_manager=readonly"] + (["--allow-root"] if os.geteuid() == 0 else [])
# What notebooks take from outside: parameters, S3's settings, where Rust is and where temporary files go.
c.Spawner.env_keep.extend(name for name in os.environ if name.startswith(("FRUITS", "AWS_", "SPARK_")))
c.Spawner.env_keep.extend(["CARGO_HOME", "RUSTUP_HOME", "JAVA_HOME", "TMPDIR", "RUST_LOG", "SSL_CERT_FILE", "SSL_CERT_DIR"])
c.Spawner.env_keep.extend(name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"))
# What Jupyter keeps (settings, signatures, running kernels) lies with the hub's state, not in the user's home.
jupyter = pathlib.Path.cwd() / "jupyter"
c.Spawner.environment = {
    "JUPYTER_CONFIG_DIR": str(jupyter / "config"),
    "JUPYTER_DATA_DIR": str(jupyter / "data"),
    "IPYTHONDIR": str(jupyter / "ipython"),
}
