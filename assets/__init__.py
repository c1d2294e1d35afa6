"""What things are: cartons, pallets, conveyors, arms, grippers; their materials and looks. Free of any engine.

Every asset is a `Body` tree (`assets.asset`) that a function returns: `carton(...)`, `epal1()`, `ur20().body`.
"""
