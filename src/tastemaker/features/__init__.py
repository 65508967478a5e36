"""The feature store: one declaration, two evaluations that must agree.

Training reads features from columns, as of the moment of each decision; serving reads them from a state that each event
moved a little. Where the two are written twice they differ sooner or later, and the model is asked about a world that it
was not trained on. So a feature is declared once (``catalog.py``); its kind (``kinds.py``) knows how to add one event and
how to aggregate a column; ``fold.py`` and ``table.py`` are the two drivers, and a property test holds them equal at
every point in time, for late, repeated and simultaneous events.

Accumulators do not depend on the order of events and can be merged. Start with ``catalog.py``; a new feature is one
declaration there.
"""
