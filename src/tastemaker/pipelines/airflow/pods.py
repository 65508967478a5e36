"""Steps in pods of Kubernetes: each a container of the image that calls ``tastemaker step``.

The answer comes back as the pod's XCom file. Exit code 99 says that the step was skipped; every other code but 0 fails the try.
The pod's variables, secrets, volumes and resources come from a template of yours: nothing of this process's environment, which
may hold secrets, is handed over.
"""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import Context

from tastemaker.config import Airflow
from tastemaker.errors import MissingExtra
from tastemaker.pipelines.airflow.links import links
from tastemaker.pipelines.airflow.settling import settled
from tastemaker.pipelines.task_command import SKIPPED, command_of

try:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
except ImportError as missing:
    raise MissingExtra("kubernetes", "airflow.image") from missing

ANSWER = "/airflow/xcom/return.json"  # where Airflow's sidecar looks


class PodOperator(KubernetesPodOperator):  # type: ignore[misc,unused-ignore]  # of no known type where the provider is missing
    """A step in a pod."""

    template_fields = (*KubernetesPodOperator.template_fields, "asked", "part")
    operator_extra_links = property(lambda _: links())

    def __init__(self, *, asked: str, part: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.asked, self.part = asked, part

    def execute(self, context: Context) -> Any:
        self.arguments = [*command_of(json.loads(self.asked), self.part), "--quiet", "--answer", ANSWER]
        return settled(super().execute(context), context, self.asked)


class Pods:
    """Tasks that are pods."""

    def __init__(self, settings: Airflow) -> None:
        self.arguments: dict[str, Any] = {
            "image": settings.image,
            "namespace": settings.namespace,
            "pod_template_file": settings.pod_template or None,
            "cmds": ["tastemaker", "--log-level", "INFO"],
            "do_xcom_push": True,
            "skip_on_exit_code": SKIPPED,
        }

    def task(self, name: str, about: str, asked: str, **arguments: Any) -> Any:
        return PodOperator(task_id=name, doc_md=about, asked=asked, **self.arguments, **arguments)

    def each(self, name: str, about: str, asked: str, parts: Any, **arguments: Any) -> Any:
        found = PodOperator.partial(
            task_id=name, doc_md=about, asked=asked, map_index_template="{{ task.part }}", **self.arguments, **arguments
        )
        return found.expand(part=parts.output)
