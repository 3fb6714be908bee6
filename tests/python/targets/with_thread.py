"""An import that starts a thread: no template can be made of it."""

import os
import threading

threading.Thread(target=threading.Event().wait, name="forever", daemon=True).start()
at_import = os.getpid()


def wait(context):
    print("here", at_import == os.getpid(), flush=True)
    context.ready()
    context.cancellation.wait()
