"""The nearline plane: after an event, before the next request.

``update.py`` is the function: records in, states, slates and counters out. It knows no engine. ``worker.py`` is the loop
that calls it (poll, update, commit) inside ``tastemaker up``. Delivery is at least once; a state carries the last offset
applied, so the effect is exactly once. ``rebuild.py`` makes everything again from the log.
"""
