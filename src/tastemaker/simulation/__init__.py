"""A world of users whose tastes are known, to hold the whole loop against the truth.

    world.py       who lives there, what they like, how they click, leave and return
    policies.py    who recommends to them: the platform, an oracle, chance
    calibrate.py   makes the world's statistics those of real data

It proves plumbing, statistics and directions. How much freshness or a model is worth is measured on real logs.
"""
