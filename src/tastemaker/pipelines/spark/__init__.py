"""The heavy steps on Spark: the same work and the same answers. Steps come here by ``pipelines/engines.py`` alone.

    queries.py    the Ibis expressions of features and training sets, run by Spark
    als.py        matrix factorisation by MLlib, as an artifact of ours
    item_knn.py   neighbours of items, by the kernel of the model itself
    publish.py    slates, composed by the executors
    progress.py   how far Spark is

The session is the process's one, of ``storage/spark.py``.
"""
