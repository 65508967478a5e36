"""Is what we serve any good, and is the machinery healthy?

``quality.py`` joins decisions with what people did about them: click-through by model version. ``health.py`` looks at lags
and ages. Both give plain ``Metric`` rows; the step ``monitor`` writes them into the metrics history.
"""
