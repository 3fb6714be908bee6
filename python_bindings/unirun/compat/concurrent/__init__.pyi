from unirun.compat.concurrent import futures as futures
