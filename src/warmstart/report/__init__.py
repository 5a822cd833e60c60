"""Report: what does somebody read who did not run the study?"""

from warmstart.report.render import render

__all__ = ["render"]
