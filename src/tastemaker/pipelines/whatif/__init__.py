"""What if another model, or other rules, had made the slates that chance has drawn?

A share of answers is drawn with known probabilities, so the log says of each slate how probable it was, and what came of it.
Another policy would have drawn the same slates more or less often: weighed by how much, they tell what it would have earned.

    question.py    what is asked, and whose policies
    reading.py     drawn slates from the lake, each with its user's history as it was then, and with what came of it
    weighing.py    how probable each slate is under each policy, block by block
    answering.py   estimates, and what follows from them in a sentence

The statistics are ``evaluation/counterfactual.py``, the probabilities ``slates/rescored.py``. Nothing is written.
"""
