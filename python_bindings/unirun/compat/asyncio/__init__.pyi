from asyncio import *

from unirun.compat.loops import run_in_executor as run_in_executor
