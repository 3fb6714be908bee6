"""Asks asgi_server, with many clients at once, and checks what it answers.

usage: visit.py ASGI_SERVER [CLIENTS]
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def visit(port: int, name: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/visitor%20{name}?again", body=b"x" * 100_000)
    return connection.getresponse().read().decode()


def answer_to(port: int, head: str) -> str:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n")
        with connection.makefile() as answer:
            return answer.read().splitlines()[0]  # To the end: it closes the connection.


def main() -> None:
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    command = [sys.argv[1], str(Path(__file__).parent), "application:app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(visit, [port] * clients, range(clients)))
        taken = time.perf_counter() - began
        assert answers == [f"PUT /visitor {name}, visit 1, 100000 bytes\n" for name in range(clients)], answers[:3]
        assert answer_to(port, "nonsense") == "HTTP/1.1 400 Bad Request"
        assert answer_to(port, "PUT / HTTP/1.1\r\ncontent-length: 9999999") == "HTTP/1.1 413 Content Too Large"
        assert answer_to(port, "PUT / HTTP/1.1\r\ntransfer-encoding: chunked") == "HTTP/1.1 501 Not Implemented"
        server.terminate()
        visits = server.stdout.read()
    assert server.returncode == 0
    assert visits.count("'/visitor ") == clients, visits
    print(f"{clients} requests that wait 10 ms each took {taken * 1000:.0f} ms beside one another")


if __name__ == "__main__":
    main()
