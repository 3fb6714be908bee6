from concurrent.futures import *

from unirun.compat.concurrent.futures import process as process
from unirun.compat.concurrent.futures import thread as thread
