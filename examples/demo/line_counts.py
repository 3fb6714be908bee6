"""A parser and its consumer: they count the project's lines by kind of file.

The parser reads the files and serves what it finds on a unix socket; the consumer adds it up and
writes the totals. The consumer's connection dies with the parser, so they stand under a
``rest_for_one`` supervisor: when the parser falls, the consumer is started anew after it.
"""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

from demo.places import PARSER_SOCKET, STATISTICS, source_files
from unirun import Service, ServiceContext

PATIENCE = 5.0  # Seconds.


class Parser(Service):
    """Sends each consumer that connects one JSON line per file, and a last one that says so."""

    def run(self, context: ServiceContext) -> None:
        PARSER_SOCKET.unlink(missing_ok=True)  # A killed predecessor could not take its own away.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(PARSER_SOCKET))
            listener.listen()
            context.cancellation.add_callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            context.ready()
            while not context.cancellation.is_cancellation_requested:
                try:
                    consumer, _ = listener.accept()
                except OSError:  # Shut down by the callback above.
                    break
                with consumer, consumer.makefile("w", encoding="utf-8") as stream:
                    self.serve(stream, context)

    def serve(self, stream: Any, context: ServiceContext) -> None:
        sweep = 0
        try:
            while not context.cancellation.is_cancellation_requested:
                for path in source_files():
                    lines = path.read_bytes().count(b"\n")
                    print(json.dumps({"suffix": path.suffix, "lines": lines}), file=stream)
                sweep += 1
                print(json.dumps({"sweep": sweep}), file=stream, flush=True)
                context.status(f"{sweep} sweeps over the sources")
                context.cancellation.wait(context.config["pause_seconds"])
        except BrokenPipeError:
            context.logger.info("the consumer has gone")


class Consumer(Service):
    """Adds up what the parser sends, and keeps the latest totals in a file."""

    def run(self, context: ServiceContext) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(PARSER_SOCKET))
            context.cancellation.add_callback(lambda: connection.shutdown(socket.SHUT_RDWR))
            context.ready()
            totals: Counter[str] = Counter()
            with connection.makefile("r", encoding="utf-8") as stream:
                for line in stream:
                    found = json.loads(line)
                    if "suffix" in found:
                        totals[found["suffix"]] += found["lines"]
                        continue
                    write_whole(STATISTICS, totals)
                    context.status(f"{totals.total():,} lines in {len(totals)} kinds of files")
                    totals.clear()
        # The parser has hung up: its supervisor stops us as well, at once.
        if not context.cancellation.wait(PATIENCE):
            raise ConnectionError("the parser has hung up, and nobody stops its consumer")


def write_whole(path: Path, totals: Counter[str]) -> None:
    """Write a file that is either the old one or the new one, whenever we die."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(totals, sort_keys=True), encoding="utf-8")
    os.replace(unfinished, path)
