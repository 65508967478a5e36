"""Better hyperparameters for a model, searched on the newest events of the training part and before any test.

``search.py`` is the whole of it: ``task.py`` says what is searched and on what, ``study.py`` remembers, ``report.py`` draws.
Optuna and matplotlib are imported here and nowhere else.
"""
