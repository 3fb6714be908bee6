"""What supervised.cpp keeps alive, once in each context: state of its own, and code that fails now and then."""

from __future__ import annotations

import random

balance = 0


def step() -> int:
    global balance
    balance += random.randrange(1, 10)
    if random.random() < 0.03:
        raise ConnectionError(f"the bank is gone, and so is a balance of {balance}")
    return balance
