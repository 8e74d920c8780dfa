from camlens.studio.cache import ByteCache


def test_the_least_recently_used_value_is_dropped() -> None:
    cache = ByteCache(30)
    for name in "abc":
        cache.put(name, name, 10)
    assert cache.get("a", str) == "a"
    cache.put("d", "d", 10)
    assert [cache.get(name, str) for name in "abcd"] == ["a", None, "c", "d"]


def test_a_value_larger_than_the_cache_is_dropped() -> None:
    cache = ByteCache(30)
    cache.put("small", "small", 10)
    cache.put("huge", "huge", 31)
    assert (cache.get("huge", str), cache.get("small", str)) == (None, "small")


def test_a_replaced_value_counts_once() -> None:
    cache = ByteCache(30)
    cache.put("a", 1, 20)
    cache.put("a", 2, 25)
    cache.put("b", 3, 5)
    assert (cache.get("a", int), cache.get("b", int)) == (2, 3)
