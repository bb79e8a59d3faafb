"""``methods.md``: what was done, in a paper's words, with the CLAIM and TRIPOD+AI items it answers.

Every sentence is made of facts that the software has. What did not happen is not mentioned, and
what the software cannot know is listed for the authors to write.
"""

from __future__ import annotations

from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.text import methods_text, write_methods

__all__ = ["MethodsFacts", "methods_text", "write_methods"]
