"""livecam: a real-time face filter that never shows the real face."""

__version__ = "0.1.0"
