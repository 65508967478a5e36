"""The offline plane: what runs on a schedule.

    catalog.py    the pipelines, on one page
    pipeline.py   what a step is
    local.py      runs them in this process, and goes on after a crash
    tasks.py      does one step of one interval, for a scheduler outside; answers.py, words.py: in JSON, in a sentence
    airflow/      the same pipelines as DAGs of Airflow
    engines.py    who does the heavy work: this process, or Spark (spark/)
    steps/        ingest, features, train, evaluate, gate, publish, arms, monitor, freshen: thin, no algorithm in them
    training.py   the lake's events as a training set
    whatif/       how other policies would have done, from slates that chance has drawn
    tuning/       better hyper-parameters, searched before the test begins
    imports/      files of interactions, items and users into log, lake and tables
    datasets/     public data sets by name
    moving/       a whole platform to other stores
    sizing/       how large a platform has to be

Start with ``catalog.py``.
"""
