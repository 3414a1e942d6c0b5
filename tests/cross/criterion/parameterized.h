/* tests/support.h includes it; tests/kernels does not use it. */
