"""The supervisor that one writes by hand in Python: asyncio, one task a child, restart at once."""

import asyncio
import signal
import sys


async def keep_alive(argv: list[str], stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        process = await asyncio.create_subprocess_exec(*argv)
        try:
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise


async def main() -> None:
    count, program = int(sys.argv[1]), sys.argv[2]
    loop = asyncio.get_running_loop()
    if sys.version_info < (3, 12):  # From 3.12 on this is the default.
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(loop)
        asyncio.get_event_loop_policy().set_child_watcher(watcher)
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    tasks = [asyncio.create_task(keep_alive([program, str(i)], stopping)) for i in range(count)]
    await stopping.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


asyncio.run(main())
