// Vectors of floats as wide as the instruction set that this copy of a file is compiled for: see variants.hpp.
//
// GCC and Clang compute with them as with numbers. Everything is in an unnamed namespace, so that no copy of a function
// that was compiled for one processor is ever called on another.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#define RLAIF_LANES 16
#elif defined(__AVX2__)
#include <immintrin.h>
#define RLAIF_LANES 8
#else
#define RLAIF_LANES 4
#endif

namespace rlaif {
namespace {

constexpr std::size_t lanes = RLAIF_LANES;
using Vector = float __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
using Integers = std::int32_t __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
using Halves = std::uint16_t __attribute__((vector_size(lanes * 2), aligned(2), may_alias));
using Twos = std::int32_t __attribute__((vector_size(lanes * 4), aligned(2), may_alias));  // of 16 bits, two in each
using Bytes = std::uint8_t __attribute__((vector_size(lanes), aligned(1), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
// GCC converts whole numbers of different sizes one by one; there are instructions for it.
inline Integers widened(const Bytes& its) {
#if defined(__AVX512F__)
    return reinterpret_cast<Integers>(_mm512_cvtepu8_epi32(reinterpret_cast<__m128i>(its)));
#elif defined(__AVX2__)
    return reinterpret_cast<Integers>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&its))));
#else
    return __builtin_convertvector(its, Integers);
#endif
}
inline Integers widened(const Halves& its) {
#if defined(__AVX512F__)
    return reinterpret_cast<Integers>(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(its)));
#elif defined(__AVX2__)
    return reinterpret_cast<Integers>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(its)));
#else
    return __builtin_convertvector(its, Integers);
#endif
}
inline Halves narrowed(const Integers& its) {
#if defined(__AVX512F__)
    return reinterpret_cast<Halves>(_mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(its)));
#else
    return __builtin_convertvector(its, Halves);
#endif
}
inline Integers load_flags(const bool* from) {  // -1 where true
    return widened(*reinterpret_cast<const Bytes*>(from)) != 0;
}
inline Vector all(float value) { return Vector{} + value; }
inline Integers bits(Vector value) { return reinterpret_cast<const Integers&>(value); }
inline Vector floats(Integers value) { return reinterpret_cast<const Vector&>(value); }
inline std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

// A NaN in `value` stays one.
inline Vector at_least(float least, Vector value) {
#if defined(__AVX512F__)
    return _mm512_max_ps(_mm512_set1_ps(least), value);  // gives its second operand where either is NaN
#else
    return value < least ? all(least) : value;
#endif
}
inline Vector at_most(float most, Vector value) {
#if defined(__AVX512F__)
    return _mm512_min_ps(_mm512_set1_ps(most), value);
#else
    return value > most ? all(most) : value;
#endif
}
// A NaN in `value` is passed over.
inline Vector larger(Vector most, Vector value) {
#if defined(__AVX512F__)
    return _mm512_max_ps(value, most);
#else
    return value > most ? value : most;
#endif
}

// Lanes are combined with those half a vector apart, then with those a quarter apart, and so on.
template <typename Combine>
float combined(Vector value, Combine combine) {
#if defined(__AVX512F__)
    __m256 half = combine(_mm512_castps512_ps256(value), _mm512_extractf32x8_ps(value, 1));
#elif defined(__AVX2__)
    __m256 half = value;
#endif
#if defined(__AVX2__)
    __m128 quarter = combine(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = combine(quarter, _mm_movehl_ps(quarter, quarter));
    return combine(quarter, _mm_movehdup_ps(quarter))[0];
#else
    for (std::size_t apart = lanes / 2; apart > 0; apart /= 2) {
        for (std::size_t lane = 0; lane < apart; ++lane) value[lane] = combine(value[lane], value[lane + apart]);
    }
    return value[0];
#endif
}
inline float sum(Vector value) {
    return combined(value, [](auto a, auto b) { return a + b; });
}
inline float largest(Vector value) {
    return combined(value, [](auto a, auto b) { return a > b ? a : b; });
}
// The whole number below the logarithm to base 2 of a positive number.
inline int power_in(float value) {
    std::int32_t its;
    __builtin_memcpy(&its, &value, sizeof its);
    return (its >> 23) - 127;
}

// 2^x to 2e-7 of itself, and 2^0 = 1; 0 below -126 or soon after, infinite from 128 on. A NaN stays one. The factors
// make the largest relative error of such a polynomial, 1 at 0, as small as can be.
inline Vector power_of_two(Vector x) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    const Vector rest = _mm512_reduce_ps(x, 0x09);  // x less the whole number below it, no exceptions
    Vector power = rest * 1.8671403e-3f + 9.0170072e-3f;
    power = power * rest + 5.5799930e-2f;
    power = power * rest + 2.4016445e-1f;
    power = power * rest + 6.9315131e-1f;
    power = power * rest + 1.0f;
    return _mm512_scalef_ps(power, x);  // times 2 to the whole number below x
#else
    x = x > 128.0f ? all(128.0f) : x;
    const Integers nothing = x < -126.0f;
    x = nothing ? all(-126.0f) : x;
    const Vector shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, in the last bits of the sum
    const Vector shifted = x + shift, rest = x - (shifted - shift);
    Vector power = rest * 1.3264727e-3f + 9.6715126e-3f;
    power = power * rest + 5.5507337e-2f;
    power = power * rest + 2.4022242e-1f;
    power = power * rest + 6.9314698e-1f;
    power = power * rest + 1.0f;
    return nothing ? Vector{} : power * floats((bits(shifted) + 127) << 23);
#endif
}

constexpr float log2_of_e = 1.44269504f;
inline Vector exponential(Vector x) { return power_of_two(x * log2_of_e); }

// tanh to about 1e-7 of itself: near 0 by a series (that of Cephes), elsewhere by e^2x.
inline Vector tanh(Vector x) {
    const Vector square = x * x, power = exponential(2.0f * (x > 40.0f ? all(40.0f) : x));
    Vector series = square * -5.70498872745e-3f + 2.06390887954e-2f;
    series = series * square - 5.37397155531e-2f;
    series = series * square + 1.33314422036e-1f;
    series = series * square - 3.33332819422e-1f;
    return square < 0.390625f ? series * square * x + x : 1.0f - 2.0f / (power + 1.0f);
}

// Numbers of 16 bits, as floats and back, rounded to the nearest and then to even. A NaN stays one.
struct Bfloat16 {
    std::uint16_t held;
};
struct Float16 {
    std::uint16_t held;
};
inline Vector widened(Bfloat16, Integers its) { return floats(its << 16); }
inline Vector widened(Float16, Integers half) {
    const Integers magnitude = (half & 0x7fff) << 13, special = (half & 0x7c00) == 0x7c00;
    const Vector scaled = floats(magnitude) * 5.192296858534828e33f;  // 2^112 between the exponents; subnormals come right
    return floats((special & (magnitude | 0x7f800000)) | (~special & bits(scaled)) | ((half & 0x8000) << 16));
}
inline Integers narrowed(Bfloat16, Vector value) {
    const Integers its = bits(value), rounded = its + 0x7fff + ((its >> 16) & 1), wrong = value != value;
    return (((wrong & (its | 0x400000)) | (~wrong & rounded)) >> 16) & 0xffff;
}
inline Integers narrowed(Float16, Vector value) {
    const Integers its = bits(value), magnitude = its & 0x7fffffff, wrong = value != value;
    const Integers many = magnitude >= 0x477ff000, few = magnitude < 0x38800000;  // from 65520 on; below 2^-14
    const Integers normal = (magnitude - (112 << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    const Integers subnormal = bits(floats(magnitude) + 0.5f) - 0x3f000000;  // the sum's last bit is worth 2^-24
    const Integers half = (wrong & 0x7e00) | (~wrong & ((many & 0x7c00) | (~many & ((few & subnormal) | (~few & normal)))));
    return half | ((its >> 16) & 0x8000);
}
#if defined(__AVX512F__)  // which has instructions for these
inline Vector load(const Float16* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline void store(Float16* to, Vector value) {
    const __m256i half = _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half);
}
#endif
template <typename Number>
Vector load(const Number* from) {
    return widened(Number{}, widened(*reinterpret_cast<const Halves*>(from)));
}
template <typename Number>
void store(Number* to, Vector value) {
    *reinterpret_cast<Halves*>(to) = narrowed(narrowed(Number{}, value));
}

// At most a vector, for the ends of rows; what is not loaded is 0.
template <typename Number>
inline Vector load_part(const Number* from, std::size_t count) {
    if (count >= lanes) return load(from);
    Number filled[lanes] = {};
    for (std::size_t lane = 0; lane < count; ++lane) filled[lane] = from[lane];
    return load(filled);
}
template <typename Number>
inline void store_part(Number* to, Vector value, std::size_t count) {
    if (count >= lanes) return store(to, value);
    Number filled[lanes];
    store(filled, value);
    for (std::size_t lane = 0; lane < count; ++lane) to[lane] = filled[lane];
}
inline Integers load_flags_part(const bool* from, std::size_t count) {
    if (count >= lanes) return load_flags(from);
    bool filled[lanes] = {};
    for (std::size_t lane = 0; lane < count; ++lane) filled[lane] = from[lane];
    return load_flags(filled);
}

// Two vectors of numbers that lie next to each other, in the order that costs least: of 16 bits, every other one.
struct Pair {
    Vector first, second;
};
inline Pair load_pair(const float* from) { return {load(from), load(from + lanes)}; }
inline void store_pair(float* to, Pair pair) {
    store(to, pair.first);
    store(to + lanes, pair.second);
}
inline Pair load_pair(const Bfloat16* from) {
    const Integers both = *reinterpret_cast<const Twos*>(from);
    return {floats(both << 16), floats(both & ~0xffff)};
}
#if defined(__AVX512F__)
inline Pair load_pair(const Float16* from) { return {load(from), load(from + lanes)}; }
inline void store_pair(Float16* to, Pair pair) {
    store(to, pair.first);
    store(to + lanes, pair.second);
}
#else
inline Pair load_pair(const Float16* from) {
    const Integers both = *reinterpret_cast<const Twos*>(from);
    return {widened(Float16{}, both & 0xffff), widened(Float16{}, (both >> 16) & 0xffff)};
}
#endif
template <typename Number>
void store_pair(Number* to, Pair pair) {
    *reinterpret_cast<Twos*>(to) = narrowed(Number{}, pair.first) | (narrowed(Number{}, pair.second) << 16);
}

}  // namespace
}  // namespace rlaif
