"""Where a step is done: in Airflow's own environment, in another Python, or in a pod; each as tasks of the TaskFlow API.

The function that a task calls takes JSON and gives JSON, whatever the place, so the three differ in how they get there only.
"""

from __future__ import annotations

from typing import Any, Protocol

from airflow.providers.standard.operators.python import ExternalPythonOperator, PythonOperator
from airflow.sdk import Context
from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory

from tastemaker.config import Airflow
from tastemaker.pipelines.airflow.asking import text_of
from tastemaker.pipelines.airflow.links import links
from tastemaker.pipelines.airflow.settling import settled


def do_here(asked: str, part: str = "") -> Any:
    """Does a step in this process."""
    from tastemaker.pipelines.answers import answered

    return answered(asked, part)


def do_there(asked: str, part: str = "") -> Any:
    """Does a step in a process of another environment: its text goes there alone, so it imports all that it needs."""
    from tastemaker.pipelines.answers import answered
    from tastemaker.telemetry import configure_logging

    configure_logging("INFO")
    return answered(asked, part)


class StepOperator(DecoratedOperator):
    """What both places have in common: the answer becomes a state, a sentence, an event of an asset."""

    operator_extra_links = property(lambda _: links())

    def __init__(self, *, python_callable: Any, op_args: Any, op_kwargs: Any, **arguments: Any) -> None:
        called = {"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs}
        super().__init__(kwargs_to_upstream=called, **called, **arguments)

    def execute(self, context: Context) -> Any:
        return settled(super().execute(context), context, text_of(self))


class HereOperator(StepOperator, PythonOperator):
    """A step in the environment of Airflow."""

    custom_operator_name = "@task.tastemaker"


class ThereOperator(StepOperator, ExternalPythonOperator):
    """A step in another Python, which needs tastemaker and no Airflow."""

    template_fields = ExternalPythonOperator.template_fields
    custom_operator_name = "@task.tastemaker_external"


class Place(Protocol):
    """Makes tasks."""

    def task(self, name: str, about: str, asked: str, **arguments: Any) -> Any:
        """One task; ``asked`` is a template of the JSON text that it is handed."""

    def each(self, name: str, about: str, asked: str, parts: Any, **arguments: Any) -> Any:
        """One task for each part that the task ``parts`` names."""


class Python:
    """Tasks that call a function, here or in another environment."""

    def __init__(self, python: str = "") -> None:
        self.python = python

    def decorated(self, name: str, about: str, **arguments: Any) -> Any:
        settings = {"task_id": name, "doc_md": about, "show_return_value_in_logs": False, **arguments}
        if not self.python:
            return task_decorator_factory(do_here, decorated_operator_class=HereOperator, **settings)
        return task_decorator_factory(
            do_there, decorated_operator_class=ThereOperator, python=self.python, expect_airflow=False, **settings
        )

    def task(self, name: str, about: str, asked: str, **arguments: Any) -> Any:
        return self.decorated(name, about, **arguments)(asked=asked)

    def each(self, name: str, about: str, asked: str, parts: Any, **arguments: Any) -> Any:
        label = "{{ task.op_kwargs['part'] }}"
        return self.decorated(name, about, map_index_template=label, **arguments).partial(asked=asked).expand(part=parts)


def place_of(settings: Airflow) -> Place:
    """The place that the configuration names."""
    if settings.image:
        from tastemaker.pipelines.airflow.pods import Pods

        return Pods(settings)
    return Python(settings.python)
