"""The main job of unirun, small and real: a pipeline whose workers die all the time.

``run.py`` runs it and checks it; ``configs/demo.json`` is the tree; the rest are its services.
"""
