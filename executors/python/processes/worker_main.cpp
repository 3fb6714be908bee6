// unirun-python-worker: a process that runs Python calls for another program. See process_worker.h.

#include "executors/python/processes/process_worker.h"

int main() { return unirun::python::run_process_worker(); }
