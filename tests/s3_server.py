"""S3 as moto plays it, and EMR, on a free port of 127.0.0.1, until standard input ends: whoever starts this cannot leave it behind.

The first line of its output is the endpoint. `--keys BUCKET N PHOTO M` first puts N keys there, M of them the photo, evenly spread.
"""

import argparse
import logging
import pathlib
import sys

from moto.core.responses import ActionResult
from moto.emr.responses import ElasticMapReduceResponse
from moto.moto_server.threaded_moto_server import ThreadedMotoServer


def cancel_steps(self):
    """What moto does not know."""
    for step in self._get_param("StepIds"):
        self.backend.describe_step(self._get_param("ClusterId"), step).state = "CANCELLED"
    return ActionResult({"CancelStepsInfoList": []})


ElasticMapReduceResponse.cancel_steps = cancel_steps


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", nargs=4, metavar=("BUCKET", "N", "PHOTO", "M"))
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    if arguments.keys:
        bucket, keys, photo, photos = arguments.keys
        fill(bucket, int(keys), pathlib.Path(photo).read_bytes(), int(photos))
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()


def fill(bucket, keys, photo, photos):
    """Puts keys into moto's own tables, which takes seconds where requests would take minutes."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    for i in range(keys):
        is_photo = i % (keys // photos) == 0
        backend.put_object(bucket, f"Test/{i // 1000:04}/{i:07}.{'jpg' if is_photo else 'txt'}", photo if is_photo else b"")


if __name__ == "__main__":
    main()
