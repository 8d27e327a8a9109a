"""Probes: a later one replaces an earlier one as a whole."""

from offramp.store.results import ProbeRun, ProbeStore


def runs(*latencies):
    return [ProbeRun(example=f"e{i}", latency_s=s) for i, s in enumerate(latencies)]


def test_runs_come_back_in_order_and_a_later_probe_replaces_them(store):
    probes = ProbeStore(store)
    probes.put("s", {"a": runs(0.3, 0.1, 0.2), "b": runs(1.0)}, concurrency=1)
    assert probes.all("s")["a"].latencies_s == (0.3, 0.1, 0.2)
    probes.put("s", {"a": runs(0.5), "b": []}, concurrency=2)
    found = probes.all("s")
    assert found["a"].latencies_s == (0.5,)
    assert found["a"].concurrency == 2
    assert found["b"].latencies_s == (1.0,)


def test_studies_do_not_mix(store):
    probes = ProbeStore(store)
    probes.put("one", {"a": runs(1.0)}, concurrency=1)
    assert probes.all("other") == {}
    probes.put("other", {}, concurrency=1)
