// Vectors of floats as wide as the instruction set that this copy of a file is compiled for: see variants.hpp.
//
// GCC and Clang compute with them as with numbers. Everything is in an unnamed namespace, so that no copy of a function
// that was compiled for one processor is ever called on another.
#pragma once

#include <cstddef>

#if defined(__AVX512F__)
#define RLAIF_LANES 16
#elif defined(__AVX2__)
#define RLAIF_LANES 8
#else
#define RLAIF_LANES 4
#endif

namespace rlaif {
namespace {

constexpr std::size_t lanes = RLAIF_LANES;
using Vector = float __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
using Integers = int __attribute__((vector_size(lanes * 4), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector all(float value) { return Vector{} + value; }
inline std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

inline float sum(Vector value) {
    float total = 0.0f;
    for (std::size_t lane = 0; lane < lanes; ++lane) total += value[lane];
    return total;
}

// e^x to about 1e-7 of itself for x up to 88, and 0 for x below -87. A NaN stays one.
inline Vector exponential(Vector x) {
    const Integers nothing = x < -87.0f;
    x = nothing ? all(-87.0f) : x;
    const Vector shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, in the last bits of the sum
    const Vector shifted = x * 1.44269504f + shift, whole = shifted - shift;
    const Vector rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Vector power = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    power = power * rest + 8.3334519073e-3f;
    power = power * rest + 4.1665795894e-2f;
    power = power * rest + 1.6666665459e-1f;
    power = power * rest + 5.0000001201e-1f;
    power = power * rest * rest + rest + 1.0f;
    const Integers exponent = (reinterpret_cast<const Integers&>(shifted) + 127) << 23;
    return nothing ? Vector{} : power * reinterpret_cast<const Vector&>(exponent);
}

}  // namespace
}  // namespace rlaif
