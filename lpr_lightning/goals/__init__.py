"""What a path is for: the concepts that count, and the exam on them."""

from __future__ import annotations

from lpr_lightning.goals.concepts import (
    AllConcepts,
    ConceptGoal,
    PractisedConcept,
    Targets,
    UpcomingConcept,
    WeakestConcept,
)
from lpr_lightning.goals.exams import Exam, HardExam, SoftExam

__all__ = [
    "AllConcepts",
    "ConceptGoal",
    "Exam",
    "HardExam",
    "PractisedConcept",
    "SoftExam",
    "Targets",
    "UpcomingConcept",
    "WeakestConcept",
]
