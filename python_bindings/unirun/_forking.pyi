"""The template's native half: see python_bindings/forking/forking.cpp."""

def find_marks() -> bool:
    """Find the host's marks in the environment block of this process; False if it has none."""

def fork(launch: str, run: str, descriptors: list[int], places: list[int], closing: list[int]) -> tuple[int, int]:
    """Fork a child of the *host*: its pid and a pidfd, or ``(0, -1)`` in the child.

    In the child ``descriptors`` have moved to their ``places``, and ``closing`` are closed.
    """

def receive(channel: int) -> tuple[bytes, list[int]]:
    """Wait for the next packet and its descriptors; empty once the host is gone."""

def send(channel: int, text: bytes, descriptor: int) -> None:
    """Send a packet, with a descriptor unless that is -1."""

def watch_files(paths: list[str]) -> int:
    """A descriptor that has something to read once one of the files may have changed."""

def map_board(descriptor: int) -> None:
    """Map the memory by which the host learns of deaths."""

def hold(offset: int) -> None:
    """Hold the lock at ``offset`` of that memory until this thread dies."""
