"""Experiments over the stores: what they have found by now, and how large the next one has to be.

    measure.py   the sums of an experiment from the lake: exact, and as of its newest archive
    report.py    the judgement as a table for a terminal, as JSON, as a page; page.py draws
    plan.py      how many units the next experiment needs, from what the lake says of the last weeks

The statistics are pure and lie in ``tastemaker.experiments``; the counting of events is in ``evaluation/measuring.py``. Start
with ``measure.py``. The same sums, minutes old, come from ``streaming/experiments.py``.
"""
