"""A world of users whose tastes are known, to hold the whole loop against the truth.

    settings.py     what kind of world
    world.py        what everybody likes at this moment, and what they do with a list
    people.py       who lives there, and when they come; things.py: what there is to be had
    examination.py  how a list is looked at
    noise.py        chance that belongs to what it decides, so that two worlds meet the same
    policies.py     who recommends: chance, popularity, an oracle; circle.py: the loop of time
    learning.py     a model of the platform that recommends; trial.py: an experiment, beside what is true of it
    calibrate.py    makes the world's statistics those of real data

It proves plumbing, statistics and directions. How much freshness or a model is worth is measured on real logs.
"""
