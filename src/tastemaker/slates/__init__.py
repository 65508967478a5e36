"""Slates: from a history to what is on the screen.

A slate is composed by walking a ladder of candidate sources (``sources.py``): what the model says about this history,
what is popular in categories the user named, what trends, what is popular, what is new. Filters are masks that every
source obeys while it picks, so nothing has to be taken away afterwards. The first rung that yields an item names the
answer. The same ``compose`` makes slates for publishing, after a click and in a request; ``stored.py`` is the form in
which a finished slate waits for its request.
"""
