"""Durations as text."""


def format_duration(seconds: float) -> str:
    """Format seconds as "8 s", "2 min 05 s" or "1 h 10 min"."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
