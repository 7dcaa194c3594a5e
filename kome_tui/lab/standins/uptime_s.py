"""Prints the seconds since boot, as Linux's /proc/uptime does: no clock change moves it."""

import time

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS: MONOTONIC counts sleep too

if __name__ == "__main__":
    print(f"{time.clock_gettime(CLOCK):.2f}")
