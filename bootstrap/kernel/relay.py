"""Stands between Jupyter and evcxr, and says of a cell that ended in an error or a panic that it did: evcxr says "ok".

    relay.py LAUNCH CONNECTION-FILE

Every message is passed on as it is, but for two. What fruits_core prints of an error (see its module `notebook`) comes as the result of a
cell, of a type of its own; it becomes an error of Jupyter's, and the reply to that cell says so, too. So "Run All" ends there, and so do
nbconvert and papermill. Completions lose what is not for people.
"""

import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import zmq  # Jupyter starts this with its own Python, which has it

# The type of what fruits_core prints of an error: JSON with `kind`, `message` and `line`, the line of the cell.
FAILED = "application/x-fruits-error+json"
DELIMITER = b"<IDS|MSG>"
# Shown by completion, but not for people: what evcxr calls to show a value, and traits of all types.
HIDDEN = re.compile(r"^(evcxr_display|borrow|borrow_mut|into|try_into|type_id|vzip|clone_into|clone_to_uninit|__.*)\b")


class Message:
    """Frames of Jupyter's wire protocol: identities, delimiter, signature, header, parent, metadata, content, buffers."""

    def __init__(self, frames, key):
        self.key = key
        at = frames.index(DELIMITER)
        self.identities, self.parts = frames[:at], frames[at + 2 :]
        self.header, self.parent = json.loads(self.parts[0]), json.loads(self.parts[1])

    @property
    def kind(self):
        return self.header["msg_type"]

    @property
    def content(self):
        return json.loads(self.parts[3])

    def with_content(self, content, kind=None):
        header = {**self.header, "msg_type": kind or self.kind}
        parts = [json.dumps(header).encode(), *self.parts[1:3], json.dumps(content).encode()]
        sign = hmac.new(self.key, digestmod=hashlib.sha256)
        for part in parts:
            sign.update(part)
        signature = sign.hexdigest().encode() if self.key else b""
        return [*self.identities, DELIMITER, signature, *parts]


class Relay:
    def __init__(self, front, back):
        self.key = front["key"].encode()
        context = zmq.Context()
        name = b"fruits-relay"  # of the shell and of the input that a cell asks for it has to be the same

        def bound(kind, channel):
            bound = context.socket(kind)
            bound.linger = 1000
            bound.bind(address(front, channel))
            return bound

        def connected(kind, channel):
            connected = context.socket(kind)
            if kind == zmq.DEALER:
                connected.identity = name
            else:
                connected.subscribe(b"")
            connected.linger = 0
            connected.connect(address(back, channel))
            return connected

        self.front = {channel: bound(zmq.ROUTER, channel) for channel in ("shell", "control", "stdin", "hb")}
        self.back = {channel: connected(zmq.DEALER, channel) for channel in ("shell", "control", "stdin")}
        self.iopub, self.shown = bound(zmq.PUB, "iopub"), connected(zmq.SUB, "iopub")
        # The errors of cells, and replies that wait until all that their cells showed has come.
        self.failures, self.waiting = {}, {}

    def run(self, evcxr):
        poller = zmq.Poller()
        for one in (*self.front.values(), *self.back.values(), self.shown):
            poller.register(one, zmq.POLLIN)
        while evcxr.poll() is None:
            ready = dict(poller.poll(500))
            for channel, one in self.front.items():
                if one in ready:
                    frames = one.recv_multipart()
                    one.send_multipart(frames) if channel == "hb" else self.back[channel].send_multipart(frames)
            if self.shown in ready:
                self.show(self.shown.recv_multipart())
            for channel, one in self.back.items():
                if one in ready:
                    self.answer(channel, one.recv_multipart())

    def show(self, frames):
        message = Message(frames, self.key)
        cell = message.parent.get("msg_id")
        if message.kind == "execute_result" and FAILED in message.content.get("data", {}):
            failed = message.content["data"][FAILED]
            failed = json.loads(failed) if isinstance(failed, str) else failed
            place = [f"in: {failed['line']}"] if failed["line"] else []
            error = {"ename": failed["kind"], "evalue": failed["message"], "traceback": [failed["message"], *place]}
            self.failures[cell] = error
            frames = message.with_content(error, "error")
        self.iopub.send_multipart(frames)
        if message.kind == "status" and message.content["execution_state"] == "idle":
            failure, waiting = self.failures.pop(cell, None), self.waiting.pop(cell, None)
            if waiting:
                self.reply(waiting, failure)

    def answer(self, channel, frames):
        message = Message(frames, self.key)
        if message.kind == "execute_reply":
            self.waiting[message.parent.get("msg_id")] = message, frames
        elif message.kind == "complete_reply":
            self.front[channel].send_multipart(message.with_content(completions(message.content)))
        else:
            self.front[channel].send_multipart(frames)

    def reply(self, waiting, failure):
        message, frames = waiting
        if failure:
            frames = message.with_content({**message.content, "status": "error", **failure})
        self.front["shell"].send_multipart(frames)


def completions(content):
    """Completions without what is not for people."""
    matches = dict.fromkeys(match for match in content.get("matches", []) if not HIDDEN.match(match))
    return {**content, "matches": list(matches)}


def address(connection, channel):
    port = connection[f"{channel}_port"]
    return f"ipc://{connection['ip']}-{port}" if connection["transport"] == "ipc" else f"tcp://{connection['ip']}:{port}"


def own_connection(front, folder):
    """Other ports, with the same key: evcxr's, as a file, and what is in it."""
    channels = ("shell", "control", "stdin", "hb", "iopub")
    sockets = [socket.socket() for _ in channels]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = {f"{channel}_port": one.getsockname()[1] for channel, one in zip(channels, sockets)}
    back = {**front, **ports, "transport": "tcp", "ip": "127.0.0.1"}
    for one in sockets:
        one.close()
    path = os.path.join(folder, "connection.json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(back, file)
    return path, back


def main():
    launch, connection = sys.argv[1:]
    with open(connection) as file:
        front = json.load(file)
    with tempfile.TemporaryDirectory() as folder:
        path, back = own_connection(front, folder)
        evcxr = subprocess.Popen([launch, path])
        for end in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(end, lambda number, _: evcxr.send_signal(number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupts come as messages
        Relay(front, back).run(evcxr)
    sys.exit(evcxr.returncode)


if __name__ == "__main__":
    main()
