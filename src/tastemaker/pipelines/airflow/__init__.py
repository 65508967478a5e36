"""The pipelines as DAGs of Airflow 3. Only Airflow and its DAG file import what is here.

    dags.py       a DAG for each pipeline of the catalogue
    asking.py     what a run asks of a step: interval, parameters, try
    places.py     where a step is done: here, in another Python; pods.py: in a pod of Kubernetes
    settling.py   from a step's answer to a state, a sentence, an event of an asset
    assets.py     what other DAGs wait for, and what starts a training out of its turn
    alerts.py     a task that failed for good becomes an alert
    links.py      from Airflow's pages to the dashboard

Start with ``dags.py``. A task hands JSON to ``pipelines/answers.py`` and gets JSON back; no algorithm is in here.
"""
