"""Evaluation: is this model better, and how sure are we?

A model is judged as it will serve: it sees the histories up to a moment and recommends from the whole catalogue (never
from sampled negatives, which change the order of models: Krichene and Rendle, KDD 2020); what users did after that moment
is the truth. ``splits.py`` draws the line, ``metrics.py`` compares lists with the truth user by user, ``compare.py`` puts
an interval around every mean and every difference, ``evaluate.py`` does it all for one model. Users about whom nothing
can be said are left out and counted, never silently dropped.

Start with ``evaluate.py``. A new metric is a line in ``metrics.evaluate_lists`` and its sentence in ``METRICS``.
"""
