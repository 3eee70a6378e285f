"""What a caller may do. Each role may do what those before it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Of a caller, or the least that a route asks for."""

    OPEN = "open"
    """Everybody, also who has not said who he is."""
    VIEWER = "viewer"
    """Looks."""
    OPERATOR = "operator"
    """Runs experiments and stops them."""
    ADMIN = "admin"
    """Changes the cluster and who may do what."""

    def allows(self, wanted: Role) -> bool:
        """Whether somebody with this role may do what asks for `wanted`."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)


GIVEN = tuple(role for role in Role if role is not Role.OPEN)
"""Roles that a caller may have."""
