"""Is the new one better? Who sees which arm, what is counted of it, and what may be concluded, at any time.

    assignment.py     a unit's arm, by a hash: layers, slices, coverage, holdouts
    moments.py        sums that can be added up; all that is concluded is a function of them
    analysis.py       effects, intervals that bear being looked at, sample ratio, guardrails, the verdict
    interleaving.py   two rankings in one list, and who of them is preferred

Pure functions of arrays and values: the server, the pipelines, the stream and the simulator call the same ones.
"""
