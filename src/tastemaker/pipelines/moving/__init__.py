"""Moving a platform: everything from the stores of one configuration into those of another, and the proof that it arrived.

    target.py    the other configuration, and whether the two may stand for one move
    note.py      how far a move came, in the target's home
    events.py    the log, partition by partition into another number of partitions
    lake.py      derived tables by file; tables of events are archived anew, with their places in the new log
    models.py    artifacts
    compare.py   counts and checksums of both sides
    move.py      the whole, in order: start here

A move may be killed at any moment and run again: each part finds out from the target what is there already. States, slates
and counters are not copied but made anew from the target's log (``streaming/rebuild.py``), because they speak of its offsets.
"""
