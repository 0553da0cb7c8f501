//! The benchmarks have nothing in common but their manifest.
