"""A Redis for machines without one: `python fake_redis.py PORT`, until it is ended.

A process of its own, like redis-server: fakeredis answers each client from a thread that polls.
"""

import signal
import sys
import threading

from fakeredis import TcpFakeServer


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])))
    server.daemon_threads = True
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    stop.wait()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
