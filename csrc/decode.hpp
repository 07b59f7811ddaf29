// One token a row through a stack of transformer blocks of the Llama family, in one call.
//
// What it is for stands in kernels/rlaif_kernels/llama.py. decode_blocks.cpp computes, once for each of the variants in
// variants.hpp; decode.cpp owns the memory and calls it.
#pragma once

#include <cstddef>

namespace rlaif::decode {

// Linear layers that read the same input, as one: `out` columns in panels of `lanes`, each panel [in, lanes].
// `paired` ones are two of equal size whose panels take turns, so that gate and value are computed together.
struct Linear {
    std::size_t in, out;
    bool paired;
    float *weight, *bias;  // bias: null if there is none
};

// A linear layer as torch keeps it: weight [out, in], row-major, and bias [out] or null.
struct Part {
    const float *weight, *bias;
    std::size_t out;
};

// A block's parameters and its part of the cache. Gains of norms that the block lacks are null.
// keys [rows, groups, room / lanes, width, lanes], so that a dot product with every token is a sum of vectors;
// values [rows, groups, room, wide].
struct Block {
    float *before, *between, *query, *key;
    Linear qkv, projection, gate_up, down;
    float *keys, *values;
};

struct Stack {
    // `heads` of queries share `groups` of keys and values; a head has `width` channels, the first `rotary` of which
    // are turned. `wide` is `width`, `room` the longest sequence, both rounded up to whole vectors.
    std::size_t rows, hidden, heads, groups, width, wide, rotary, inner, vocabulary, room;
    float epsilon, scaling;
    std::size_t layers;
    Block* blocks;
    float* last;  // gain of the norm behind the blocks
    Linear head;
    std::size_t* lengths;  // [rows], tokens in the cache
    // What the blocks hand on, each row a whole number of vectors apart: see `stride`.
    float *x, *qkv, *attended, *between;
};

// x [rows, hidden] is read, logits [rows, vocabulary] is written; cosines and sines are [rows, rotary].
struct Step {
    const float *x, *cosines, *sines;
    float* logits;
};

// One of those who take a step together; `wait` returns once each of them has called it.
struct Member {
    std::size_t number, of;
    void (*wait)(const Member& member);
    void* team;
    float* scratch;  // of its own: `scratch_size(stack)` floats
};

struct Variant {
    std::size_t lanes;  // floats in a vector
    // Fill the panels of `linear` from the parts that it is made of.
    void (*arrange)(const Linear& linear, const Part* parts, std::size_t count);
    // Put `count` tokens at the beginning of a row's cache; keys and values [groups, stride, width] from some token on.
    void (*remember)(const Stack& stack, const Block& block, std::size_t row, const float* keys, const float* values,
                     std::size_t stride, std::size_t count);
    void (*step)(const Stack& stack, const Step& step, const Member& member);
};

// Rows begin a whole number of cache lines apart, so of vectors, too.
static inline std::size_t stride(std::size_t floats) { return (floats + 15) / 16 * 16; }
static inline std::size_t scratch_size(const Stack& its) {
    return its.rows * stride(its.hidden) + 2 * stride(its.wide) + stride(its.room);
}
static inline std::size_t panels(const Linear& linear, std::size_t lanes) {
    return linear.paired ? 2 * ((linear.out / 2 + lanes - 1) / lanes) : (linear.out + lanes - 1) / lanes;
}

}  // namespace rlaif::decode
