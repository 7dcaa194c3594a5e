"""What the console and the command line share: sampling, pushing, and one state of it all.

Workers translate readings into events and decide nothing: what an event means is decided in
state.apply and triage.diagnose, which are pure.
"""

from kome_tui.session.console import Session
from kome_tui.session.sample import sample_once
from kome_tui.session.status_json import status_json

__all__ = ["Session", "sample_once", "status_json"]
