"""The errors this package raises on purpose."""

import inspect

from bitsback import errors

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass)]


def test_one_base_class_catches_all():
    assert len(CLASSES) > 10 and all(issubclass(one, errors.BitsbackError) for one in CLASSES)


def test_each_has_a_description():
    assert [one.__name__ for one in CLASSES if not one.__doc__] == []


def test_damage_is_not_a_file_of_another_kind():
    """Callers catch the one without the other."""
    assert not issubclass(errors.DamagedFile, errors.NotOurFile)
    assert not issubclass(errors.NotOurFile, errors.DamagedFile)
