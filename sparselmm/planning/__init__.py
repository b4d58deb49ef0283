"""Planning of studies: designs that do not exist yet, and the power of tests on them."""
