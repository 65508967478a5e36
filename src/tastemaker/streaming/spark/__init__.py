"""The nearline plane on Spark Structured Streaming: ``applying.py`` by Spark's tasks instead of our own workers.

    stream.py   the driver: batches, commits, restarts
    task.py     what a task does with its rows
    source.py   the event log as a source of Spark's; kafka.py: by Spark's own connector where it is installed
    stores.py   a worker process's connections

Start with ``stream.py``.
"""
