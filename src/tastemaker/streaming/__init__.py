"""The nearline plane: after an event, before the next request.

``update.py`` is the function: records in, states, slates and counters out. It knows no engine. ``applying.py`` is all that is
done with records around it, whoever brings them: ``worker.py``, the loop in ``tastemaker up`` and ``stream`` (poll, apply,
commit), or ``spark/``, which lets the tasks of Spark Structured Streaming do it. Delivery is at least once; a state carries
the last offset applied, so the effect is exactly once. ``rebuild.py`` makes everything again from the log.
"""
