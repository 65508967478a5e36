"""Files into the platform: interactions, items and users from CSV, Parquet and JSON Lines.

``importer.py`` is the flow: blocks are read (``readers``, ``tables``), their columns chosen and checked (``columns``,
``checks``), made into events (``conversion``), appended to the log, and followed by a checkpoint (``checkpoints``), so that
an interrupted import goes on. Refused rows are set aside with line and reason. Start with ``import_file``.
"""

from tastemaker.pipelines.imports.importer import ImportReport, import_dataset, import_file

__all__ = ["ImportReport", "import_dataset", "import_file"]
