"""What is derived, made again: user states, item counters and slates, from the log and the lake.

    replay.py    replays everything beside the online store, then exchanges it block by block
    publish.py   everybody's slate under the live version

The online store is never empty meanwhile: requests are answered from what was there until the moment in which a user's state
is exchanged. What comes out equals what the nearline workers would have made, byte for byte, as long as the catalogue's
categories are those of then: features by category are counted under the categories that an item has at the time of counting.
"""

from tastemaker.pipelines.rebuilding.publish import slates
from tastemaker.pipelines.rebuilding.replay import states

__all__ = ["slates", "states"]
