"""A proxy that stands between `fruits` and an S3 server and does what networks and busy services do."""

import asyncio
import contextlib
import threading

CHUNK = 16384


class Server:
    """Serves connections to 127.0.0.1 in a thread of its own, until the end of the `with`."""

    tls = None

    def __enter__(self):
        started = threading.Event()
        self.loop = asyncio.new_event_loop()

        def serve():
            asyncio.set_event_loop(self.loop)
            self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, limit=1 << 20, ssl=self.tls))
            self.port = self.server.sockets[0].getsockname()[1]
            started.set()
            self.loop.run_forever()

        threading.Thread(target=serve, daemon=True).start()
        started.wait()
        return self

    def __exit__(self, *_):
        def stop():
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_later(0.1, self.loop.stop)

        self.loop.call_soon_threadsafe(stop)

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.connection(reader, writer)
        with contextlib.suppress(Exception):
            writer.close()


class Proxy(Server):
    """Forwards to `upstream` (http://host:port). `fault(request, nth)` says what happens to the nth request, counted from 0:

    None            nothing
    ("late", s)     the answer begins s seconds later
    ("answer", status, body)   this answer instead
    ("reset",)      the connection is reset in the middle of the body
    ("stall", s)    the body stops in the middle for s seconds, then the connection closes
    ("longer",)     the headers promise ten bytes more than there are
    ("shorter",)    the headers promise ten bytes less

    `requests` holds method and path of each, `headers` the headers. `rewrite(path, headers)` says what the server is asked for instead.
    """

    def __init__(self, upstream, fault=lambda request, nth: None, rewrite=lambda path, headers: path):
        self.upstream = upstream.removeprefix("http://").split(":")
        self.fault = fault
        self.rewrite = rewrite
        self.requests, self.headers = [], []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    async def connection(self, reader, writer):
        backend = None
        try:
            while head := await head_of(reader):
                line, headers = head
                request = line.split(" ")[0] + " " + line.split(" ")[1]
                if headers.pop("expect", None):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                nth = len(self.requests)
                self.requests.append(request)
                self.headers.append(headers.copy())
                fault = self.fault(request, nth) or ("none",)
                if fault[0] == "answer":
                    _, status, content = fault
                    writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode())
                    continue
                if fault[0] == "late":
                    await asyncio.sleep(fault[1])
                if backend is None:
                    backend = await asyncio.open_connection(*self.upstream, limit=1 << 20)
                method, path, version = line.split(" ")
                backend[1].write(raw(f"{method} {self.rewrite(path, headers)} {version}", headers) + body)
                keeps = await answer(backend[0], writer, fault, request.startswith("HEAD"))
                if not keeps:
                    backend[1].close()
                    backend = None
                if fault[0] in ("reset", "stall", "longer", "shorter"):
                    return
        finally:
            if backend:
                backend[1].close()


async def answer(reader, writer, fault, is_head):
    """Passes on one answer with its fault; gives back whether the server keeps the connection."""
    line, headers = await head_of(reader)
    length = int(headers.get("content-length", 0))
    body = b"" if is_head or line.split(" ")[1] in ("204", "304") else await body_of(reader, headers)
    keeps = headers.get("connection", "").lower() != "close" and line.startswith("HTTP/1.1")
    if "transfer-encoding" in headers:
        del headers["transfer-encoding"]
        headers["content-length"] = length = len(body)
    headers["connection"] = "keep-alive"
    if fault[0] in ("longer", "shorter"):
        headers["content-length"] = length + (10 if fault[0] == "longer" else -10)
        body = body[: int(headers["content-length"])]
    writer.write(raw(line.replace("HTTP/1.0", "HTTP/1.1"), headers))
    if fault[0] in ("reset", "stall"):
        writer.write(body[: length // 2])
        await writer.drain()
        await asyncio.sleep(fault[1] if fault[0] == "stall" else 0.01)
        if fault[0] == "reset":
            writer.transport.abort()
    else:
        writer.write(body)
        await writer.drain()
    return keeps


async def head_of(reader):
    """The first line and the headers of a message; nothing at the end of the stream."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.rstrip("\r\n").split("\r\n")
    headers = {}
    for header in rest:
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return line, headers


async def body_of(reader, headers):
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    return await reader.readexactly(int(headers.get("content-length", 0)))


def raw(line, headers):
    return (line + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode("latin-1")
