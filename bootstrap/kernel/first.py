"""Starts a kernel and ends it when it is ready."""

from jupyter_client.manager import KernelManager

manager = KernelManager(kernel_name="fruits")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=120)
client.stop_channels()
manager.shutdown_kernel(now=True)
