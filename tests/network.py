"""A company's network: a proxy that is the only way out, certificates of its own, and lines of limited speed and high latency."""

import asyncio
import base64
import contextlib
import datetime
import ipaddress
import pathlib
import ssl
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from faults import Server, answer, head_of, raw

CHUNK = 16384


class Line(Server):
    """Passes bytes on to http://host:port, over TLS if there is a certificate. All connections share `rate` bytes a second in each direction;
    the answer to what is sent comes `delay` seconds later than it would."""

    def __init__(self, upstream, certificate=None, rate=None, delay=0):
        self.upstream = upstream.removeprefix("http://").split(":")
        self.rate, self.delay = rate, delay
        self.passed = [0, 0]
        self.free = [0.0, 0.0]
        if certificate:
            self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.tls.load_cert_chain(certificate)

    @property
    def endpoint(self):
        return f"http{'s' if self.tls else ''}://localhost:{self.port}"

    async def connection(self, reader, writer):
        back = await asyncio.open_connection(*self.upstream)
        await asyncio.gather(self.copy(reader, back[1], 0), self.copy(back[0], writer, 1))

    async def copy(self, reader, writer, way):
        queue = asyncio.Queue()

        async def send():
            while (item := await queue.get()) is not None:
                at, data = item
                await asyncio.sleep(max(0, at - time.monotonic()))
                writer.write(data)
                await writer.drain()
            writer.close()

        sender = asyncio.ensure_future(send())
        try:
            while data := await reader.read(CHUNK if self.rate is None else min(CHUNK, max(512, self.rate // 50))):
                self.passed[way] += len(data)
                now = time.monotonic()
                if self.rate:
                    self.free[way] = max(now, self.free[way]) + len(data) / self.rate
                    await asyncio.sleep(self.free[way] - now)
                queue.put_nowait((time.monotonic() + self.delay / 2, data))
        except OSError:
            pass
        queue.put_nowait(None)
        await sender


class ForwardProxy(Server):
    """The proxy of a company. `routes` says where hosts are, `*` all others; `login` is the name and password that it wants, `refuses` whether
    it lets nothing through. `asked` holds the hosts and ports that it was asked for."""

    def __init__(self, routes, login=None, refuses=False):
        self.routes, self.login, self.refuses = routes, login, refuses
        self.asked = []

    def url(self, login=""):
        return f"http://{login}127.0.0.1:{self.port}"

    async def connection(self, reader, writer):
        while head := await head_of(reader):
            line, headers = head
            method, target, version = line.split(" ")
            host = target if method == "CONNECT" else target.split("/")[2]
            self.asked.append(host)
            wanted = self.login and "Basic " + base64.b64encode(self.login.encode()).decode()
            if wanted and headers.pop("proxy-authorization", None) != wanted:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
                continue
            if self.refuses:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                continue
            place = self.routes.get(host.split(":")[0], self.routes.get("*"))
            back = await asyncio.open_connection(*place.split("://")[1].split(":"))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await asyncio.gather(pass_on(reader, back[1]), pass_on(back[0], writer))
                return
            if headers.pop("expect", None):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            back[1].write(raw(f"{method} /{target.split('/', 3)[3]} {version}", headers) + body)
            await answer(back[0], writer, ("none",), method == "HEAD")
            back[1].close()


async def pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


def certificates(folder):
    """The certificate of an authority of our own, and one for Amazon's hosts and this one that it signed, with its key: two files."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def sign(name, issuer, key, issuer_key, *extensions):
        builder = x509.CertificateBuilder(
            issuer_name=issuer,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=2),
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def pem(certificate):
        return certificate.public_bytes(serialization.Encoding.PEM)

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = sign(name("a test"), name("a test"), authority_key, authority_key, x509.BasicConstraints(ca=True, path_length=None))
    hosts = ["localhost", "*.amazonaws.com", "*.s3.eu-west-3.amazonaws.com", "*.s3-accesspoint.eu-west-3.amazonaws.com", "s3.eu-west-3.amazonaws.com"]
    names = [x509.DNSName(host) for host in hosts] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = sign(name("s3"), name("a test"), key, authority_key, x509.SubjectAlternativeName(names))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    bundle, server = pathlib.Path(folder) / "bundle.pem", pathlib.Path(folder) / "server.pem"
    # Bundles of companies hold what no program reads, too.
    damaged = b"-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
    bundle.write_bytes(b"# ours\n" + damaged + pem(authority))
    server.write_bytes(secret + pem(certificate))
    return bundle, server
