"""The offline plane: what runs on a schedule.

    catalog.py    the pipelines, on one page
    pipeline.py   what a step is
    local.py      runs them in this process, and goes on after a crash
    steps/        ingest, features, train, evaluate, gate, publish, monitor, freshen: thin, no algorithm in them
    training.py   the lake's events as a training set
    tuning.py     better hyper-parameters, searched before the test begins
    imports/      files of interactions, items and users into log, lake and tables
    datasets/     public data sets by name
    moving/       a whole platform to other stores

Start with ``catalog.py``.
"""
