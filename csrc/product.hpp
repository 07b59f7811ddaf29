// A matrix product of bfloat16 numbers into float32, by the instruction that multiplies pairs of them (AVX512_BF16).
//
// torch rounds such a product to bfloat16 again, which costs log-probs two of their digits; multiplied as float32 it
// takes at least twice as long. product_tiles.cpp computes, product.cpp shares out the columns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlaif::product {

// A matrix of bfloat16, which lies row after row (`along` is 1) or column after column (`across` is 1).
struct Matrix {
    const std::uint16_t* numbers;
    std::size_t across, along;  // numbers from one row to the next, and from one column to the next
};

// out[n][c] = x[n] . weight[c] + bias[c]. Every sum goes along the width in the same order, whatever else is computed.
struct Product {
    Matrix x, weight;   // [rows, width], [columns, width]
    const float* bias;  // [columns], or null
    bool onto;          // to what is in `out` already
    std::size_t rows, width, columns;
    void* out;  // [rows, columns] of float, or of bfloat16 if `narrow`
    std::size_t out_step;
    bool narrow;  // not for `onto`, nor for more than `depth` pairs: what is summed on must not be rounded
};

constexpr std::size_t tall = 12, broad = 32;  // rows and columns of a tile, whose sums fill the registers
constexpr std::size_t depth = 512;            // pairs of numbers along the width that are taken at a time
constexpr std::size_t together = 8;           // tiles' columns that lie in the cache nearest to a core at a time

inline std::size_t pairs(const Product& its) { return (its.width + 1) / 2; }
inline std::size_t tiles(const Product& its) { return (its.rows + tall - 1) / tall; }
inline std::size_t panels(const Product& its) { return (its.columns + broad - 1) / broad; }
inline std::size_t arranged(const Product& its) { return tiles(its) * tall * pairs(its); }
constexpr std::size_t room = together * broad * depth;

// x as the tiles are read, into [arranged] pairs, for the tiles [first, end).
void arrange(const Product& its, std::size_t first, std::size_t end, std::int32_t* into);
// The columns of the panels [first, end); `scratch` has `room` for pairs.
void multiply(const Product& its, const std::int32_t* x, std::size_t first, std::size_t end, std::int32_t* scratch);

}  // namespace rlaif::product
