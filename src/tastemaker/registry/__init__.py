"""The registry: model cards, versions, the live pointer and the gate.

A model version is an artifact (a folder) and a card (a row: parameters, data, losses, metrics, verdict). One version is
live. Which one is said by a single value of the online store, so going live and rolling back are one atomic write;
``live.py`` moves it and loads what it names, ``gate.py`` decides whether it may move.
"""
