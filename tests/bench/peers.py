#!/usr/bin/python3
"""The same work with Python's process pools and numpy. Prints "key value" lines; a wrong result ends with 1.

  mix LIBRARY N STEPS SUM     multiprocessing.Pool.map over chunks of C arithmetic
  latency N                   Pool.apply, one after the other
  flood N CLIENTS             ProcessPoolExecutor.map, one item a chunk, in CLIENTS processes at a time
  memmap FILE SUM             numpy.memmap in a Pool, opened afresh
  pickle FILE SUM NUMBERS     the first NUMBERS int32, pickled to a Pool in slices
"""
import concurrent.futures
import ctypes
import multiprocessing
import os
import sys
import time

PROCESSES = int(os.environ.get("BENCH_PROCESSES", os.cpu_count()))
WARM = 50
state = {}


def say(key, value):
    print(f"{key} {value:.9g}")


def check(what, got, expected):
    if got != expected:
        sys.exit(f"peers.py: {what} is {got}, not {expected}")


def quantiles(took):
    took.sort()
    say("p50", took[int(0.50 * len(took))] * 1e6)
    say("p99", took[min(int(0.99 * len(took)), len(took) - 1)] * 1e6)


def nothing(_):
    return 0


def same(item):
    return item


# ---- arithmetic ----


def load_mix(path, steps):
    library = ctypes.CDLL(path)
    library.mix.restype = ctypes.c_uint64
    library.mix.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
    state["mix"], state["steps"] = library.mix, steps


def mix(chunk):
    return state["mix"](chunk, state["steps"])


def run_mix(path, n, steps, expected):
    n, steps = int(float(n)), int(steps)
    with multiprocessing.Pool(PROCESSES, load_mix, (path, steps)) as pool:
        pool.map(mix, range(1000))
        start = time.perf_counter()
        total = sum(pool.map(mix, range(n))) % (1 << 64)
        took = time.perf_counter() - start
    check("the sum", total, int(expected))
    say("seconds", took)
    say("ns_chunk", took * 1e9 / n)


# ---- one-chunk jobs ----


def run_latency(n):
    took = []
    with multiprocessing.Pool(PROCESSES) as pool:
        for _ in range(WARM):
            pool.apply(same, (0,))
        for i in range(int(n)):
            start = time.perf_counter()
            got = pool.apply(same, (i,))
            took.append(time.perf_counter() - start)
            check("what came back", got, i)
    say("rate", len(took) / sum(took))
    quantiles(took)


def flood(n, barrier, times):
    with concurrent.futures.ProcessPoolExecutor(PROCESSES) as pool:
        check("the first sum", sum(pool.map(nothing, range(WARM))), 0)
        barrier.wait()
        start = time.monotonic()
        check("the number of results", sum(1 for _ in pool.map(nothing, range(n))), n)
        times.put((start, time.monotonic()))


def run_flood(n, clients):
    n, clients = int(n), int(clients)
    barrier, times = multiprocessing.Barrier(clients), multiprocessing.Queue()
    people = [multiprocessing.Process(target=flood, args=(n, barrier, times)) for _ in range(clients)]
    for p in people:
        p.start()
    spans = [times.get() for _ in people]
    for p in people:
        p.join()
        check("a client's status", p.exitcode, 0)
    say("rate", n * clients / (max(e for _, e in spans) - min(s for s, _ in spans)))


# ---- sums ----


def sum_slice(job):
    import numpy

    path, first, count = job
    return int(numpy.memmap(path, "int32", "r", 4 * first, (count,)).sum(dtype="int64"))


def sum_array(array):
    return int(array.sum(dtype="int64"))


def slices(n, pieces):
    return [(n * i // pieces, n * (i + 1) // pieces - n * i // pieces) for i in range(pieces)]


def run_memmap(path, expected):
    import numpy

    with multiprocessing.Pool(PROCESSES) as pool:
        pool.map(sum_array, [numpy.zeros(1, "int32")] * PROCESSES)
        start = time.perf_counter()
        size = os.stat(path).st_size
        jobs = [(path, first, count) for first, count in slices(size // 4, 4 * PROCESSES)]
        total = sum(pool.map(sum_slice, jobs, 1))
        took = time.perf_counter() - start
    check("the sum", total, int(expected))
    say("seconds", took)
    say("gb_s", size / took / 1e9)


def run_pickle(path, expected, n):
    import numpy

    n = int(float(n))
    with multiprocessing.Pool(PROCESSES) as pool:
        pool.map(sum_array, [numpy.zeros(1, "int32")] * PROCESSES)
        start = time.perf_counter()
        array = numpy.asarray(numpy.memmap(path, "int32", "r", 0, (n,)))
        total = sum(pool.map(sum_array, [array[a : a + c] for a, c in slices(n, 4 * PROCESSES)], 1))
        took = time.perf_counter() - start
    check("the sum", total, int(expected) if expected != "-" else int(array.sum(dtype="int64")))
    say("seconds", took)
    say("gb_s", 4 * n / took / 1e9)


def main():
    commands = {"mix": run_mix, "latency": run_latency, "flood": run_flood, "memmap": run_memmap, "pickle": run_pickle}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    if sys.argv[1] in ("memmap", "pickle"):
        try:
            import numpy  # noqa: F401
        except ImportError:
            sys.exit(77)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
