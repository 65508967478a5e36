"""The nouns of tastemaker: frozen ``msgspec`` structs, and nothing that does anything.

    events.py       what happens: one tagged union of events, and their bytes
    known.py        what is known of a user (states), and what is offered (slates)
    learnt.py       what is learnt: model cards, verdicts, runs
    experiments.py  what is asked: experiments, arms, assignments

Times are UTC epoch milliseconds; ids of users and items are strings.
"""

from tastemaker.domain.events import (
    EVENTS,
    NAN,
    AnyEvent,
    Decision,
    Erase,
    Event,
    Exposure,
    Id,
    Int64,
    Interaction,
    ItemChange,
    Millis,
    Name,
    Record,
    Scalar,
    Score,
    Slot,
    UserChange,
    View,
    decode_event,
    decode_events,
    encode_event,
    encode_json,
    key_of,
    tag_of,
)  # fmt: skip
from tastemaker.domain.experiments import Arm, Assignment, Experiment, Share
from tastemaker.domain.known import History, Reason, Scored, Slate, UserState
from tastemaker.domain.learnt import Check, Interval, ModelCard, Run, Verdict

__all__ = [
    "EVENTS", "NAN", "AnyEvent", "Decision", "Erase", "Event", "Exposure", "Id", "Int64", "Interaction", "ItemChange", "Millis",
    "Name", "Record", "Scalar", "Score", "Slot", "UserChange", "View", "decode_event", "decode_events", "encode_event",
    "encode_json", "key_of", "tag_of",
    "Arm", "Assignment", "Experiment", "Share",
    "History", "Reason", "Scored", "Slate", "UserState",
    "Check", "Interval", "ModelCard", "Run", "Verdict",
]  # fmt: skip
