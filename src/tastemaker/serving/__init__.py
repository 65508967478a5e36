"""The online plane: the HTTP API.

    app.py         puts the parts together
    hot.py         the two routes that carry the traffic, as raw ASGI handlers in front of the FastAPI application
    recommend.py   what happens in a request: read, compose or copy, log the decision
    ingest.py      what happens to an event: decode, check, append, acknowledge once durable
    routes_*.py    everything else, in FastAPI
    current.py     the live models, the catalogue and the counters that this process answers with
    auth.py        API keys, scopes, rates

A request never waits for training and never writes to a database: it reads one value of the online store and hands its
decision to the log.
"""
