"""`offramp replay`: the racing core over a recorded table in place of live calls."""

from offramp.search.replay.run import Replay, ReplayMember, replay

__all__ = ["Replay", "ReplayMember", "replay"]
