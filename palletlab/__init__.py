"""The face of palletlab: command line, reports, version; composes the other packages, holds no logic of its own."""
