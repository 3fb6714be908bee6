"""The executors that `unirun.Run` hands out: subclasses of the standard ones, with native engines beneath."""
