"""Datamodules: learners' answer logs, split by learner, read from official files or generated."""

if __name__ != "lpr_lightning.datamodules":
    raise ImportError("import lpr_lightning.datamodules, not datamodules")
