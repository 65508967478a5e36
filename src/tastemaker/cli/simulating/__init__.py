"""The whole platform in a world whose truth is known: simulated people are served, click, are learnt from, and come back.

    doors.py     how the platform is reached: its API over HTTP, or the same application called in this process
    platform.py  the platform as a policy of a world: lists are asked for, and what people do is sent as events
    run.py       one stretch of life: days of serving and retraining, in a platform and a world of its own
    study.py     a question to many such lives: the arms of an experiment together, and each alone, which is the truth
    counting.py  the sums of an experiment's arms, from what its units were seen to do
    report.py    what came of it as text, JSON and a page

The world before the first request lies in the days before the present. What happens to a server's answers is dated when it is
sent, because the server dates its decisions by its own clock: a simulated day that is served takes seconds of the platform's
time. What is measured in days (half-lives, trends) therefore sees all served days as one moment.
"""
