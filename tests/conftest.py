"""The same commit gets the same verdict twice: properties are tried on examples that are the same in every run.

`pytest --hypothesis-profile=explore` looks at new ones.
"""

from hypothesis import settings

settings.register_profile("repeat", derandomize=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile("repeat")
