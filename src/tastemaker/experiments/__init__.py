"""Is the new one better? Who sees which arm, what is counted of it, and what may be concluded, at any time.

    assignment.py     a unit's arm, by two hashes: layers, slices, coverage, holdouts
    moments.py        sums that can be added up; all that is concluded is a function of them
    effects.py        the value of a metric in each arm, and the difference: ratios by units, covariates
    intervals.py      how sure: for one look, for any number of looks, for both
    counts.py         whether counts fit the shares that were planned
    planning.py       how many units it takes
    verdicts.py       what is decided, in words, and why
    interleaving.py   two rankings in one list, and which of them is preferred

Pure functions of arrays and values: the server, the pipelines, the stream and the simulator call the same ones.
"""
