"""With vla-eval, outside policies drive our tasks (`benchmark`) and ours drive its benchmarks (`server`).

It joins any policy and any benchmark over a WebSocket (Choi et al., arXiv 2603.13966) and is an extra here:
`pip install -e .[vla-eval]`. It finds both sides by import string: the benchmark in `conf/vla_eval/benchmark.yaml`, the
server with `python -m palletlab.vla_eval.server`.
"""
