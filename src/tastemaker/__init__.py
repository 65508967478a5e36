"""tastemaker: a recommendation platform in one package.

Start with ``domain.py`` (the nouns), then ``pipelines/catalog.py`` (the loop on one page), then ``streaming/update.py``
and ``serving/recommend.py`` (what happens after a click, and in a request).
"""

__version__ = "0.1.0"
