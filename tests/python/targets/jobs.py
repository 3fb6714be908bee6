"""Services for the tests of Host and Client."""

import os
import signal
import sys
import time

from unirun import Ignore, Service


class Steady(Service):
    def run(self, context):
        context.ready()
        context.cancellation.wait()


class Failing(Service):
    """Fails as its config says; runs steadily after that many failures (counted in a file)."""

    def run(self, context):
        with open(context.config["file"], "a+") as file:
            file.seek(0)
            life = len(file.read())
            file.write("x")
        if life < context.config["failures"]:
            raise ValueError(f"life {life}")
        context.ready()
        context.cancellation.wait()


class Counting(Service):
    def run(self, context):
        context.ready()
        context.logger.info("argument %s", context.arguments)
        print("printed", flush=True)
        context.status("counting")
        context.cancellation.wait()


class Segfaulting(Service):
    def run(self, context):
        import faulthandler

        context.ready()
        if not os.path.exists(context.config["file"]):
            open(context.config["file"], "w").close()
            faulthandler._sigsegv()
        context.cancellation.wait()


class Hanging(Service):
    def run(self, context):
        context.ready()
        if os.path.exists(context.config["file"]):
            while not context.cancellation.wait(0.02):
                context.heartbeat()
            return
        open(context.config["file"], "w").close()
        time.sleep(3600)


class Finite(Service):
    def run(self, context):
        context.ready()


class Deaf(Service):
    """Does not hear a stop."""

    def run(self, context):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        context.ready()
        while True:
            time.sleep(3600)


class NeverReady(Service):
    def run(self, context):
        context.cancellation.wait()


def exits_at_once():
    sys.exit(3)


class Declining(Service):
    def run(self, context):
        raise Ignore("not on this machine")
