"""The export against FinOps' own validator. It needs Python 3.12 and an environment of its own, so it is no part of the others."""
