"""The one instant that all actions see, in place of times that differ from worker to worker."""

from __future__ import annotations

SOURCE_DATE_S = 946_684_800
"""2000-01-01T00:00:00Z, in seconds: past 1980, before which zip refuses a file."""

SOURCE_DATE_NS = SOURCE_DATE_S * 10**9
"""The modification time of every input, and of every directory that zbuild makes for an action."""
