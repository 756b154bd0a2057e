"""The why of every state: one sandbox, told to a person. Pure.

What is told here is decided elsewhere (`dialects`, `sandbox.policy`); this only puts it in words,
and says what to do next. A credential is told by its kind, never by its value.
"""

from gateway.explain.case import Surroundings
from gateway.explain.report import Explanation, Section, explain
from gateway.explain.waking import NOT_RESUMABLE

__all__ = ["NOT_RESUMABLE", "Explanation", "Section", "Surroundings", "explain"]
