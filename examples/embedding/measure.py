"""What a request that computes costs the requests that do not: pings answered while handlers compute.

usage: measure.py SERVER [SECONDS]
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from pathlib import Path

COMPUTING = 4  # Clients that ask for primes, one request after the other.


def ask(connection: http.client.HTTPConnection, target: str) -> str:
    connection.request("GET", target)
    return connection.getresponse().read().decode()


def pings(port: int, seconds: float) -> list[float]:
    """How long each took, in microseconds, sorted."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        assert ask(connection, "/ping") == "pong\n"
        taken.append((time.perf_counter() - began) * 1e6)
    return sorted(taken)


def compute(port: int, over: threading.Event, done: list[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not over.is_set():
        done.append(ask(connection, "/primes?30000"))


def tell(when: str, taken: list[float]) -> None:
    print(
        f"{when}: {len(taken)} pings, p50 {taken[len(taken) // 2]:.0f} us, p99 {taken[len(taken) * 99 // 100]:.0f} us"
    )


def main() -> None:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    folder = Path(__file__).parent
    with subprocess.Popen([sys.argv[1], folder], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        tell("nobody computes", pings(port, seconds))
        over, done = threading.Event(), list[str]()
        crowd = [threading.Thread(target=compute, args=(port, over, done)) for _ in range(COMPUTING)]
        for thread in crowd:
            thread.start()
        tell("handlers compute", pings(port, seconds))
        over.set()
        for thread in crowd:
            thread.join()
        print(f"meanwhile {len(done)} times {done[0]}", end="")
        server.terminate()
    assert server.returncode == 0


if __name__ == "__main__":
    main()
