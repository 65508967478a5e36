"""The only file that Airflow sees: a DAG for each pipeline of tastemaker, made from the configuration.

Put it into Airflow's DAG folder and point TASTEMAKER_CONFIG at your tastemaker.toml; docs/how-to/airflow.md says the rest.
"""

from tastemaker.pipelines.airflow.dags import dags

globals().update(dags())
