"""What a policy needs before it can learn: a trained simulator and demonstrations, made once and kept."""

from lpr_lightning.preparation.preparation import Preparation, Prepared

__all__ = ["Preparation", "Prepared"]
