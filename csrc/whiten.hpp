// Whitening of masked numbers: mean 0 and variance 1; rlaif_kernels/reference/normalise.py defines it. whiten_tiles.cpp
// computes, once for each of the variants in variants.hpp; whiten.cpp shares out the tiles.
#pragma once

#include <cstddef>

namespace rlaif::whiten {

// Of the unmasked numbers of a tile: how many, and the sums of x - shift and of its square.
struct Moments {
    double count, sum, squares;
};

struct Variant {
    Moments (*moments)(const float* x, const bool* mask, std::size_t count, double shift);
    // out = (x - mean) * factor, 0 where masked.
    void (*apply)(const float* x, const bool* mask, std::size_t count, double mean, double factor, float* out);
};

}  // namespace rlaif::whiten
