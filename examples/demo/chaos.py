"""Kills what it is told to, with SIGKILL and from outside, as an operator or the kernel would."""

from __future__ import annotations

import os
import random
import signal

from unirun import Service, ServiceContext, connect


class Chaos(Service):
    def run(self, context: ServiceContext) -> None:
        host = connect(context.config["host"])
        targets: list[str] = context.config["targets"]
        kills = 0
        context.ready()
        while not context.cancellation.wait(random.uniform(*context.config["every"])):
            path = targets[kills % len(targets)]
            pid = host.service(path).status()["pid"]
            if pid is None:
                continue  # It is down just now.
            os.kill(pid, signal.SIGKILL)
            kills += 1
            context.logger.info("killed %s, pid %d", path, pid)
