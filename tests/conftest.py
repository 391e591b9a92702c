"""The same commit gets the same verdict twice: properties are tried on examples that are the same in every run.

`pytest --hypothesis-profile=explore` looks at new ones.
"""

from hypothesis import settings

settings.register_profile("repeat", derandomize=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile("repeat")

# The files that take longest come first, so that in the end no worker is left alone with one of them.
_LONGEST = ("test_road.py", "test_dvc_story.py", "test_graph.py", "test_tutorial.py", "test_engines.py")


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
