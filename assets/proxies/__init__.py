"""Collision proxies: convex pieces that stand for a mesh in physics, and the gate that measures what they get wrong.

`mesh` loads and checks, `proxy.make_proxy` decomposes and refines until `gate` passes, `cache` remembers, `files`
writes the finished asset. What we author ourselves (`assets.parts`) brings its own pieces and passes the same gate.
"""
