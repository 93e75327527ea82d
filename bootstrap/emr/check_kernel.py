"""Runs one cell on the kernel, in JupyterHub's container, as a notebook would."""

import sys
import time

from jupyter_client.manager import KernelManager

start = time.time()
manager = KernelManager(kernel_name="fruits")
manager.start_kernel()
client = manager.client()
try:
    client.start_channels()
    client.wait_for_ready(timeout=120)
    ready = time.time() - start
    shown = []

    def collect(message):
        shown.append(message["content"].get("data", {}).get("text/plain") or message["content"].get("text", ""))

    client.execute_interactive('format!("{:?}", MobileNetV2::imagenet()?)', timeout=120, output_hook=collect)
    if "MobileNetV2" not in "".join(shown):
        sys.exit("error: the cell shows " + repr(shown))
    print("fruits: kernel ready after %.1f s, its first cell after %.1f s: %s" % (ready, time.time() - start, "".join(shown).strip()))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
