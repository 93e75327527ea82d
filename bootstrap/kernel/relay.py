"""Stands between Jupyter and evcxr, and says of a cell that ended in an error or a panic that it did: evcxr says "ok".

    relay.py LAUNCH CONNECTION-FILE

Every message is passed on as it is, but for some. What fruits_core prints of an error (see its module `notebook`) comes as the result of a
cell, of a type of its own; it becomes an error of Jupyter's, and the reply to that cell says so, too. Cells that wait behind it are not
run, as Jupyter wants it of kernels, so "Run All" ends there, and so do nbconvert and papermill. Completions lose what is not for people,
documentation what is for tests, and the compiler's errors colours that cannot be read in both themes.

evcxr answers an interrupt by killing the process that holds the variables. So it gets only a second one, soon after the first. At the first,
that process is told by a signal, which fruits_core hears (see its module `interrupt`); or the compiler is ended, if the cell is not that far.
"""

import contextlib
import copy
import hashlib
import hmac
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

import zmq  # Jupyter starts this with its own Python, which has it

# The type of what fruits_core prints of an error: JSON with `kind`, `message` and `line`, the line of the cell.
FAILED = "application/x-fruits-error+json"
DELIMITER = b"<IDS|MSG>"
# Below those that systems give to whoever asks for any. Should one be taken all the same, evcxr is started again.
PORTS = range(10_000, 32_000)
ATTEMPTS = 5
# Seconds: a second interrupt within these kills; after these it is said that it can; and a cell is tried to be ended so often.
TWICE, PATIENCE, AGAIN = 2, 1, 0.1
ENDLESS = "interrupting: this cell does not end by itself; interrupt twice within two seconds to kill it, which loses the variables\n"
NOT_RUN = "interrupted while it was compiled: the cell was not run"
COMPILERS = {"cargo", "rustc", "rust-lld"}
# Colours of margins, of what the compiler does not speak of, and of its notes.
GREYS = {"115", "147", "240", "246", "249"}
# Offered by completion, but not for people: what evcxr calls to show a value, and what all types have.
SHOWS = "evcxr_display"
HIDDEN = {SHOWS, "borrow", "borrow_mut", "clone_from", "clone_into", "eq", "into", "ne", "to_owned", "try_into", "type_id", "vzip"}


def sign(parts, key):
    signature = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        signature.update(part)
    return signature.hexdigest().encode() if key else b""


def is_genuine(frames, key):
    """Whether it was signed by one who knows the key; it is looked at before anything of it is read."""
    if DELIMITER not in frames:
        return False
    signed = frames[frames.index(DELIMITER) + 1 :]
    return len(signed) > 4 and hmac.compare_digest(signed[0], sign(signed[1:5], key))


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

    def answering(self, request):
        """Such a message, as an answer to another request."""
        other = copy.copy(self)
        other.identities, other.parts = request.identities, [self.parts[0], request.parts[0], *self.parts[2:]]
        return other

    def with_content(self, content, kind=None):
        header = {**self.header, "msg_id": uuid.uuid4().hex, "msg_type": kind or self.kind}
        parts = [json.dumps(header).encode(), *self.parts[1:3], json.dumps(content).encode()]
        return [*self.identities, DELIMITER, sign(parts, self.key), *parts]


class Interrupt:
    """Of the cell that runs."""

    def __init__(self):
        self.at = self.next = time.monotonic()
        self.is_said = self.was_compiled = False


class Relay:
    def __init__(self, evcxr, front, back, public):
        self.evcxr, self.interrupt = evcxr, None
        self.public, self.key = public, front["key"].encode()
        self.context = context = zmq.Context()
        self.has_answered = False
        name = b"fruits-relay"  # of the shell and of the input that a cell asks for it has to be the same

        def bound(kind, channel):
            bound = context.socket(kind)
            bound.linger = 1000
            bound.sndhwm = 0  # what a cell shows is not dropped, however much it is
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

        self.front = {channel: bound(zmq.ROUTER, channel) for channel in ("control", "shell", "stdin", "hb")}
        self.back = {channel: connected(zmq.DEALER, channel) for channel in ("shell", "control", "stdin")}
        self.iopub, self.shown = bound(zmq.PUB, "iopub"), connected(zmq.SUB, "iopub")
        # Cells that are to run, of which the first does; their errors; those that have shown all; and replies, which wait until they have.
        self.cells, self.failures, self.idle, self.waiting = [], {}, set(), {}

    def run(self):
        poller = zmq.Poller()
        for one in (*self.front.values(), *self.back.values(), self.shown):
            poller.register(one, zmq.POLLIN)
        while self.evcxr.poll() is None:
            ready = dict(poller.poll(1000 * AGAIN if self.interrupt else 500))
            for channel, one in self.front.items():
                if one in ready:
                    self.ask(channel, one.recv_multipart())
            if self.shown in ready:
                self.show(self.shown.recv_multipart())
            for channel, one in self.back.items():
                if one in ready:
                    self.answer(channel, one.recv_multipart())
            if self.interrupt and time.monotonic() >= self.interrupt.next:
                self.end_cell(self.interrupt)

    def ask(self, channel, frames):
        if channel == "hb":
            self.front[channel].send_multipart(frames)
        elif is_genuine(frames, self.key):
            if channel == "shell" and Message(frames, self.key).kind == "execute_request":
                self.cells.append(frames)
                if len(self.cells) > 1:
                    return
            if channel == "control" and Message(frames, self.key).kind == "interrupt_request" and self.takes_interrupt():
                request = Message(frames, self.key)
                frames = request.answering(request).with_content({"status": "ok"}, "interrupt_reply")
                self.front[channel].send_multipart(frames)
                return
            self.back[channel].send_multipart(frames)

    def takes_interrupt(self):
        """Whether an interrupt is not for evcxr: the first one of a cell that can be ended without. Where no cell runs, it is nothing."""
        if not self.cells:
            return True
        is_second = self.interrupt and time.monotonic() < self.interrupt.at + TWICE
        self.interrupt = None if is_second or not any(at_work(self.evcxr.pid)) else Interrupt()
        return self.interrupt is not None

    def end_cell(self, interrupt):
        """Tries to, again and again: between two steps of evcxr's there is nobody who hears."""
        cells, compilers = at_work(self.evcxr.pid)
        interrupt.was_compiled |= bool(compilers)
        for process, number in [*((cell, signal.SIGINT) for cell in cells), *((compiler, signal.SIGTERM) for compiler in compilers)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        now = time.monotonic()
        interrupt.next = now + AGAIN
        if now > interrupt.at + PATIENCE and not interrupt.is_said:
            interrupt.is_said = True
            request = Message(self.cells[0], self.key)
            self.iopub.send_multipart(request.answering(request).with_content({"name": "stderr", "text": ENDLESS}, "stream"))

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
        elif message.kind == "error":  # the compiler's, whose reply does not carry it
            said = message.content
            error = {**said, "evalue": as_known(said["evalue"]), "traceback": [as_known(in_two_themes(line)) for line in said["traceback"]]}
            if self.interrupt and self.interrupt.was_compiled:
                error = {"ename": "Interrupted", "evalue": NOT_RUN, "traceback": [NOT_RUN]}
            self.failures.setdefault(cell, error)
            frames = message.with_content(error)
        self.iopub.send_multipart(frames)
        if message.kind == "status" and message.content["execution_state"] == "idle" and message.parent.get("msg_type") == "execute_request":
            self.idle.add(cell)
            self.reply(cell)

    def answer(self, channel, frames):
        self.has_answered = True
        message = Message(frames, self.key)
        if message.kind == "execute_reply":
            cell = message.parent.get("msg_id")
            self.waiting[cell] = message, frames
            self.reply(cell)
        elif message.kind == "complete_reply":
            self.front[channel].send_multipart(message.with_content(completions(message.content, self.public)))
        elif message.kind == "inspect_reply" and message.content.get("data"):
            data = {kind: without_hidden_lines(text) for kind, text in message.content["data"].items()}
            self.front[channel].send_multipart(message.with_content({**message.content, "data": data}))
        else:
            self.front[channel].send_multipart(frames)

    def reply(self, cell):
        if cell not in self.idle or cell not in self.waiting:
            return
        self.idle.remove(cell)
        self.interrupt = None
        (message, frames), failure = self.waiting.pop(cell), self.failures.pop(cell, None)
        if failure:
            frames = message.with_content({**message.content, "status": "error", **failure})
        self.front["shell"].send_multipart(frames)
        request = Message(self.cells.pop(0), self.key)
        is_error = failure or message.content["status"] == "error"
        if is_error and request.content.get("stop_on_error", True):
            for frames in self.cells:
                self.abort(message, Message(frames, self.key))
            self.cells.clear()
        if self.cells:
            self.back["shell"].send_multipart(self.cells[0])

    def abort(self, like, request):
        """Says of a cell that it was not run."""
        like = like.answering(request)
        self.front["shell"].send_multipart(like.with_content({"status": "aborted"}))
        self.iopub.send_multipart(like.with_content({"execution_state": "idle"}, "status"))


def at_work(launch):
    """Of the processes below launch.sh, those that run cells and listen for interrupts, as they do from their first cell on; and compilers.

    Both are below evcxr, which runs itself for cells.
    """
    children = {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            with open(f"/proc/{process}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append((int(process), os.readlink(f"/proc/{process}/exe")))
    cells, compilers = [], []
    for evcxr, evcxrs_program in children.get(launch, []):
        ahead = children.get(evcxr, [])
        while ahead:
            process, program = ahead.pop()
            if program == evcxrs_program and is_listening(process):
                cells.append(process)
                continue
            if os.path.basename(program) in COMPILERS:
                compilers.append(process)
            ahead += children.get(process, [])
    return cells, compilers


def is_listening(process):
    with contextlib.suppress(OSError), open(f"/proc/{process}/status") as file:
        caught = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)
    return False


def in_two_themes(line):
    """A line of the compiler's in colours that can be read on light and on dark paper: of evcxr's, which are chosen for light, what marks the
    place becomes bold, and what is grey becomes ordinary. Red stays."""
    return re.sub(r"\x1b\[38;5;(\d+)m", lambda colour: "\x1b[39m" if colour[1] in GREYS else "\x1b[1m", line)


def as_known(text):
    """The compiler's words, with the name that cells have for the crate."""
    return text.replace("fruits_kernel::", "fruits_core::")


def without_hidden_lines(text):
    """Documentation, as text or HTML, without the lines of examples that are for tests only: those that begin with `# `, as no others do."""
    return re.sub(r"(^|<code[^>]*>)[ \t]*#(?:[ \t][^\n]*)?(?:\n|$)", r"\1", text, flags=re.MULTILINE)


def completions(content, public):
    """Completions without what is not for people: of values of fruits_core what is public, each as it can be inserted."""
    matches = list(dict.fromkeys(content.get("matches", [])))
    is_ours = any(match.startswith(SHOWS) for match in matches)
    at = {"start": content.get("cursor_start", 0), "end": content.get("cursor_end", 0)}
    items = []
    for match in matches:
        name, bracket, rest = match.partition("(")
        arguments = rest.rstrip(")")
        is_public = name in (public["functions"] if bracket else public["fields"]) or name == "clone"
        is_twin = not bracket and f"{name}()" in matches  # a field, beside what gives it
        if name in HIDDEN or name.startswith("__") or is_ours and (is_twin or not is_public):
            continue
        text = name + bracket + (")" if bracket and not arguments else "")
        items.append({**at, "text": text, "type": "function" if bracket else "instance", "signature": f"({arguments})" if arguments else ""})
    metadata = {**content.get("metadata", {}), "_jupyter_types_experimental": items}
    return {**content, "matches": [item["text"] for item in items], "metadata": metadata}


def address(connection, channel):
    port = connection[f"{channel}_port"]
    return f"ipc://{connection['ip']}-{port}" if connection["transport"] == "ipc" else f"tcp://{connection['ip']}:{port}"


def own_connection(front, folder):
    """Other ports, with the same key: evcxr's, as a file, and what is in it."""
    channels = ("shell", "control", "stdin", "hb", "iopub")
    ports = {f"{channel}_port": port for channel, port in zip(channels, filter(is_free, random.sample(PORTS, len(PORTS))))}
    back = {**front, **ports, "transport": "tcp", "ip": "127.0.0.1"}
    path = os.path.join(folder, "connection.json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(back, file)
    return path, back


def is_free(port):
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main():
    launch, connection = sys.argv[1:]
    with open(connection) as file:
        front = json.load(file)
    with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "public.json")) as file:
        public = json.load(file)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupts come as messages
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ATTEMPTS):
            path, back = own_connection(front, folder)
            evcxr = subprocess.Popen([launch, path])
            for end in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(end, lambda number, _: evcxr.send_signal(number))
            relay = Relay(evcxr, front, back, public)
            try:
                relay.run()
            finally:
                evcxr.terminate()
                evcxr.wait()
            if relay.has_answered or evcxr.returncode <= 0:
                break
            relay.context.destroy(linger=0)  # another process may have taken a port meanwhile
    sys.exit(evcxr.returncode)


if __name__ == "__main__":
    main()
