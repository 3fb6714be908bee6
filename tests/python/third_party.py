"""Programs of other libraries that take an executor; `test_third_party.py` runs each as it is and under compat.

usage: third_party.py NAME

Nothing here knows unirun. Prints JSON: what the program has come to.
"""

from __future__ import annotations

import asyncio
import json
import operator
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any


def square(number: int) -> int:
    return number * number


def dask_threads(executor: Executor | str = "threads") -> Any:
    """Dask has a pool of its own, a subclass of the standard one with a submit of its own; or takes one."""
    dask: Any = import_module("dask")
    squares = [dask.delayed(square)(number) for number in range(20)]
    total = dask.delayed(sum)(squares)
    failing = dask.delayed(operator.truediv)(total, 0)
    how = {"scheduler": executor, **({"num_workers": 2} if isinstance(executor, str) else {})}
    outcome = dask.compute(total, *squares, **how)
    try:
        failing.compute(**how)
    except ZeroDivisionError as error:
        return [outcome, repr(error)]
    return None


def dask_thread_pool() -> Any:
    with ThreadPoolExecutor(2) as pool:
        return dask_threads(pool)


def dask_process_pool() -> Any:
    with ProcessPoolExecutor(2) as pool:
        return dask_threads(pool)


def tqdm_threads() -> Any:
    from tqdm.contrib.concurrent import thread_map

    return thread_map(square, range(20), max_workers=2, disable=True)


def tqdm_processes() -> Any:
    from tqdm.contrib.concurrent import process_map

    return process_map(square, range(20), max_workers=2, chunksize=3, disable=True)


def tqdm_as_completed() -> Any:
    from tqdm import tqdm

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(square, number) for number in range(20)]
        return sorted(future.result() for future in tqdm(as_completed(futures), total=20, disable=True))


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *told: object) -> None:
        pass


def requests_futures() -> Any:
    from requests_futures.sessions import FuturesSession

    def read(response: Any, *_: Any, **__: Any) -> None:
        response.heard = response.text  # In the pool's thread.

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            with FuturesSession(max_workers=4) as own, ThreadPoolExecutor(2) as pool:
                own.trust_env = False
                given = FuturesSession(executor=pool)
                given.trust_env = False
                futures = [
                    session.get(f"{address}/{number}", hooks={"response": read})
                    for number in range(8)
                    for session in (own, given)
                ]
                return sorted(future.result().heard for future in as_completed(futures))
        finally:
            server.shutdown()


def aiofiles() -> Any:
    import aiofiles as files
    import aiofiles.os

    async def read_and_write(path: Path, executor: ThreadPoolExecutor | None) -> list[Any]:
        async with files.open(path, "w", executor=executor) as file:
            await file.writelines(f"{number}\n" for number in range(5))
        async with files.open(path, executor=executor) as file:
            lines = [line async for line in file]
        missing = path.with_name("missing")
        try:
            await aiofiles.os.remove(missing)
        except FileNotFoundError as error:
            return [lines, (await aiofiles.os.stat(path)).st_size, error.errno]
        return []

    async def main() -> Any:
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
            return await asyncio.gather(
                *(read_and_write(Path(folder, f"{bool(executor)}"), executor) for executor in (None, pool))
            )

    return asyncio.run(main())


PROGRAMS: dict[str, Callable[[], Any]] = {
    program.__name__: program
    for program in (
        dask_threads,
        dask_thread_pool,
        dask_process_pool,
        tqdm_threads,
        tqdm_processes,
        tqdm_as_completed,
        requests_futures,
        aiofiles,
    )
}


if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]]()))
