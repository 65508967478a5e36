"""What is wrong, for every row of ``docs/bad-input.md``.

``world.py`` is a real server and a folder for real commands; ``over_http.py`` and ``by_command.py`` hold a function for each
row's id, which does the wrong thing and returns what came of it. What should have come of it is said by the page alone.
"""
