//! An empty library: the benchmarks share only their manifest.
