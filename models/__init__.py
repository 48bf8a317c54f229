"""The networks that come with trtnn: a file for each family, and the table of their names."""

from trtnn.models.registry import (
    FAMILIES,
    by_name,
    by_task,
    check_told,
    create,
    describe,
    families,
    from_state_dict,
    identify,
    other_sizes,
    shaped,
)

__all__ = [
    "FAMILIES",
    "by_name",
    "by_task",
    "check_told",
    "create",
    "describe",
    "families",
    "from_state_dict",
    "identify",
    "other_sizes",
    "shaped",
]
