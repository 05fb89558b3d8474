"""Attributes put on an instance for a while."""

from __future__ import annotations

from lib_sdfm.hosts.attributes import InstanceAttribute


class Thing:
    def method(self) -> str:
        return "class"


def test_the_classes_attribute_shows_again():
    thing = Thing()
    attribute = InstanceAttribute(thing, "method", lambda: "ours")
    assert thing.method() == "ours"
    attribute.restore()
    assert thing.method() == "class" and vars(thing) == {}


def test_an_instances_own_attribute_comes_back():
    thing, own = Thing(), lambda: "own"
    thing.method = own
    attribute = InstanceAttribute(thing, "method", lambda: "ours")
    attribute.restore()
    assert vars(thing) == {"method": own}


def test_restoring_twice_is_harmless():
    thing = Thing()
    attribute = InstanceAttribute(thing, "method", lambda: "ours")
    attribute.restore()
    thing.method = later = lambda: "later"
    attribute.restore()
    assert vars(thing) == {"method": later}


def test_what_somebody_else_put_there_stays():
    thing, others = Thing(), lambda: "others"
    attribute = InstanceAttribute(thing, "method", lambda: "ours")
    thing.method = others
    attribute.restore()
    assert vars(thing) == {"method": others}
