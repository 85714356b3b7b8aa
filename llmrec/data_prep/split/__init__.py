"""Cut a data set into training events and targets: by each user's events, one moment, impressions, or by people."""

from llmrec.data_prep.split.events import global_time_cut, leave_last_out, per_user_ratio
from llmrec.data_prep.split.impressions import impression_time_cut
from llmrec.data_prep.split.parts import cold_items, cold_users
from llmrec.data_prep.split.users import by_user

__all__ = [
    "by_user",
    "cold_items",
    "cold_users",
    "global_time_cut",
    "impression_time_cut",
    "leave_last_out",
    "per_user_ratio",
]
