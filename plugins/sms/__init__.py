"""Text messages by an SMS gateway."""

from __future__ import annotations

from .channel import SmsChannel, register_channel

__all__ = ["SmsChannel", "register_channel"]
