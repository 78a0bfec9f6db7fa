"""Slices of one trial set, run with several seeds, put together: trials and violations add up, quantiles are those of all values.

Of the remarks, whole numbers add up, lists go on, and of other numbers the largest is kept; so it is with whole numbers that count no
trials (`LARGEST`). {"values": [...]} is told by its quantiles.
"""

import statistics

LARGEST = ("kinds", "calls", "points", "states per call", "commits of a run", "saves of a process", "bytes", "KiB grown")
BUSY = 3.0  # a load beyond which seconds say something of the machine
LARGEST_BEGIN, SMALLEST_BEGIN = ("distinct", "most", "slowest"), ("fewest",)


def with_slice(slices, new):
    """The slices and another one, in the place of one with the same seed."""
    return [*(one for one in slices if one["seed"] != new["seed"]), new]


def joined(slices):
    """One finding of all slices."""
    whole = {name: sum(one[name] for one in slices) for name in ("trials", "violations")}
    remarks = {}
    for one in slices:
        remarks = _dicts(remarks, one["remarks"])
    load = max((one.get("load", 0.0) for one in slices), default=0.0)
    remarks |= {"load of the machine up to": load} if load > BUSY else {}
    return {**whole, "promise": slices[-1]["promise"], "remarks": remarks}


def _dicts(a, b):
    return {name: _two(name, a[name], b[name]) if name in a and name in b else a.get(name, b.get(name)) for name in {**a, **b}}


def _two(name, a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        return _dicts(a, b)
    if isinstance(a, list) and isinstance(b, list):
        return a + b
    if isinstance(a, str) or isinstance(b, str):
        return a if a == b else _texts(str(a), str(b))
    if name.startswith(SMALLEST_BEGIN):
        return min(a, b)
    whole = isinstance(a, int) and isinstance(b, int)
    return a + b if whole and name not in LARGEST and not name.startswith(LARGEST_BEGIN) else max(a, b)


def _texts(a, b):
    """Shares such as 3/16 add up; other texts stand side by side."""
    parts = [text.split("/") for text in (a, b)]
    if all(len(pair) == 2 and all(part.isdigit() for part in pair) for pair in parts):
        return "/".join(str(sum(int(pair[i]) for pair in parts)) for i in range(2))
    return f"{a}, {b}"


def quantiles(found):
    """Median, 99th of 100 and largest of {"values": [...]}; where older slices kept no more than theirs, no quantile is larger."""
    values, older = sorted(found["values"]), {name: value for name, value in found.items() if name != "values"}
    if not values:
        return older
    told = {"median": statistics.median(values), "p99": values[max(0, -(-99 * len(values) // 100) - 1)], "max": values[-1]}
    before = {"median": older.get("median", older.get("p50")), **{name: older.get(name) for name in ("p99", "max")}}
    return {name: value if before[name] is None else max(value, before[name]) for name, value in told.items()}
