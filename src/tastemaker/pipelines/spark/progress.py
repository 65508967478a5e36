"""How far Spark is: its tasks counted, while the driver waits for them.

A thread asks Spark's status tracker and tells the step's progress function; behind Spark Connect, where there is no tracker
in this process, only beginning and end are told.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from tastemaker.pipelines.pipeline import Progress
from tastemaker.storage.spark import classic

if TYPE_CHECKING:
    from pyspark import StatusTracker
    from pyspark.sql import SparkSession

PAUSE = 0.5  # seconds between two looks


@contextmanager
def watched(spark: SparkSession, progress: Progress, what: str) -> Iterator[None]:
    """Tells the progress of all jobs that this thread starts in the block. An error that leaves the block cancels them."""
    progress(0, 1, f"{what}: Spark starts")
    if not classic(spark):
        yield
        progress(1, 1, what)
        return
    from py4j.protocol import Py4JError

    context, group, ended = spark.sparkContext, f"tastemaker-{uuid4().hex[:12]}", threading.Event()
    context.setJobGroup(group, what, interruptOnCancel=True)
    looker = threading.Thread(target=look, args=(context.statusTracker(), group, ended, progress, what), name="spark-progress")
    looker.start()
    try:
        yield
    except BaseException:
        with suppress(Py4JError):  # a Java that is gone cannot cancel: the error that led here tells it
            context.cancelJobGroup(group)
        raise
    finally:
        ended.set()
        looker.join()
        with suppress(Py4JError):
            context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]  # None clears it
    progress(1, 1, what)


def look(tracker: StatusTracker, group: str, ended: threading.Event, progress: Progress, what: str) -> None:
    """Tells how many tasks are done of those that are known by now, until the end."""
    told = (0, 0)
    while not ended.wait(PAUSE):
        done, known = counted(tracker, group)
        if known and (done, known) != told:
            progress(done, known, f"{what}: {done} of {known} Spark tasks")
            told = (done, known)


def counted(tracker: StatusTracker, group: str) -> tuple[int, int]:
    """The finished tasks of a group's stages, and all that are known."""
    done = known = 0
    for job in tracker.getJobIdsForGroup(group):
        found = tracker.getJobInfo(job)
        for stage in found.stageIds if found is not None else ():
            info = tracker.getStageInfo(stage)
            if info is not None:
                done, known = done + info.numCompletedTasks, known + info.numTasks
    return done, known
