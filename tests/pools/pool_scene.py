"""Plays one scene of `pool_faults.py` in this interpreter; `test_pool_faults.py` compares two of them.

usage: pool_scene.py standard|native FLAVOR FAULT DIRECTORY

What happened goes to DIRECTORY/outcome as JSON; stdout and stderr belong to the scene.
"""

from __future__ import annotations

import json
import os
import sys

from pool_faults import FAULTS, Scene


def main() -> None:
    engine, flavor, name, directory = sys.argv[1:]
    outcome = FAULTS[name].play(Scene(engine, flavor, directory))
    with open(os.path.join(directory, "outcome"), "w", encoding="utf-8") as out:
        json.dump(outcome, out)


if __name__ == "__main__":
    main()
