//! Beside the code: see the property tests below.
