"""A model as somebody wrote it, whoever that was, behind one small interface."""
