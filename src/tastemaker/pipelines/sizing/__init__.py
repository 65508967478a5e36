"""How large a platform has to be: measured rates, a workload, and the arithmetic between them, shown step by step.

    workload.py     who comes, and how often
    rates.py        what a core does in a second, and what things weigh: rates.json, by ``python -m benchmarks rates``
    arithmetic.py   figures that remember how they were made
    online.py       API, workers, log, lake, stores, network; offline.py: the daily run, here and on Spark
    terms.py        the words of both
    plan.py         all sections together, and what is too much for one machine

``tastemaker plan`` prints it.
"""
