"""What plays a service in benchmarks, on 127.0.0.1: `list.py` and `commit.py` say what it answers."""

import asyncio
import threading


class Service:
    """Listens until the end of the `with`, at `port`; each connection goes to the `connection` of who inherits."""

    def __enter__(self):
        self.loop, started = asyncio.new_event_loop(), threading.Event()

        async def serve():
            server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=4096, limit=1 << 22)
            self.port = server.sockets[0].getsockname()[1]
            started.set()

        def run():
            self.loop.run_until_complete(serve())
            self.loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        started.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
