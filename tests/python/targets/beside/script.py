"""A file target: its main guard is for people who run it by hand."""

import sys

from helper_beside_script import word


def main(context):
    context.status(f"{__name__} {word} {'guard' if GUARD_RAN else 'no guard'}")


def square(number):
    return number * number


def with_pool(context):
    with context.run(flavor="processes", max_workers=1) as pool:
        context.status(str(list(pool.map(square, [3]))))


def raises_its_own():
    raise OwnError("mine")


class OwnError(Exception):
    pass


GUARD_RAN = False
if __name__ == "__main__":
    GUARD_RAN = True
    sys.exit("the guard ran")
