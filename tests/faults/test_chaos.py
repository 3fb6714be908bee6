"""A mixed tree under random faults: the events keep their rules, and nothing is left behind."""

from __future__ import annotations

import random
import signal

import pytest
from chaos import document, run
from real_host import RealHost


@pytest.mark.native
def test_chaos_leaves_order_behind() -> None:
    with RealHost() as host:
        host.start(document())
        host.wait_for("supervisor_started", "rest")
        referee = run(host, 30.0, seed=random.randrange(2**32))
        host.send(signal.SIGTERM)
        assert host.wait() == 0
        assert not host.processes()
        assert not referee.breaches, "\n".join(referee.breaches)
