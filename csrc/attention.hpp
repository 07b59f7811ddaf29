// Attention summed by key, out of a block of scores; rlaif_kernels/reference/attention.py defines it. attention_rows.cpp
// computes, once for each of the variants in variants.hpp; attention.cpp shares out the heads.
#pragma once

#include <cstddef>

namespace rlaif::attention {

struct Map {
    float* scores;  // [samples, heads, queries, keys], written over
    std::size_t samples, heads, queries, keys;
    const bool* mask;      // [samples, keys]: which keys there are; null: all
    const float* weights;  // [samples, queries]: how much each query counts; null: 1
    double scale, cap;     // 0: no cap
    bool causal;           // the queries are the last positions of the keys, and none looks ahead
    std::size_t window;    // nor further back than window - 1 positions; 0: as far as it likes
};

struct Variant {
    // column[t] += the sum over a head's queries of share * weight * attention to key t. A query of weight 0 is not looked at.
    void (*add)(const Map& map, std::size_t sample, std::size_t head, float share, float* column);
};

}  // namespace rlaif::attention
