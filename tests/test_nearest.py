"""Mistyped words: the nearest names, whole lists where none is near, and never a list cut in silence."""

from kwise.nearest import nearest, one_of


def test_the_nearest_names_come_first_and_alone() -> None:
    known = ["golden_angle_radial", "spiral", "rosette"]
    assert nearest("radial", known) == "golden_angle_radial"
    assert nearest("spirla", known) == one_of("spirla", known) == "spiral"


def test_where_nothing_is_near_all_are_named_or_counted() -> None:
    assert one_of("zzz", ["a", "b"]) == "one of a, b"
    assert one_of("", ["a"]) == "a" and one_of("zzz", []) == "nothing at all"
    many = nearest("zzz", [f"name{i}" for i in range(40)])
    assert many.startswith("name0, name1, ") and many.endswith("name28, ... (11 more)")
