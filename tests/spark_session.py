"""One Spark session for all tests of a process: ``local[2]``, small, started by the first test that asks for it.

A test that lets the product start Spark gives its configuration ``SPARK``: it is then given the same session.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from servers import program, s3_environment
from tastemaker.config import Config, Spark
from tastemaker.storage.spark import session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPARK = Spark(
    master="local[2]",
    settings={
        "spark.driver.memory": "1536m",  # all tests of a process share it, and one that is nearly full is slow
        "spark.sql.shuffle.partitions": 4,
        "spark.default.parallelism": 2,
        "spark.python.authenticate.socketTimeout": "180s",  # a Python worker on a machine that has much else to do
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
    },
)


def shared() -> SparkSession:
    """The session; where there is no Java, the test is skipped, or fails on a CI machine."""
    program("java")
    for name, value in s3_environment("").items():  # Python workers inherit what is set when Java starts
        if name != "AWS_ENDPOINT_URL":
            os.environ.setdefault(name, value)
    return session(Config(spark=SPARK))
