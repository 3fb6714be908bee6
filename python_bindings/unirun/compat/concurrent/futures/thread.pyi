from concurrent.futures.thread import *
