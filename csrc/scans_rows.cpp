// The arithmetic of scans.hpp in float32, compiled once for each of the variants in variants.hpp.
//
// A vector of tokens at a time, from the last to the first. Masked tokens are pressed out of the vector, so that what is
// left is a plain recursion A = b + a A', whose terms are added up pairwise: over one step, then two, then four. That is
// faster than one token after the other, and rounds less.
#include "scans.hpp"
#include "vectors.hpp"

namespace rlaif::scans {
namespace {

using Bits = std::uint32_t;  // one for each lane

constexpr Bits every = lanes == 32 ? ~Bits{0} : (Bits{1} << lanes) - 1;

inline Bits bits_of(const bool* flags, std::size_t count) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    if (count == lanes) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(flags));
        return _mm_test_epi8_mask(bytes, bytes);
    }
#endif
    Bits found = 0;
    for (std::size_t lane = 0; lane < count; ++lane) found |= Bits(flags[lane]) << lane;
    return found;
}
inline std::size_t count_of(Bits bits) { return std::size_t(__builtin_popcount(bits)); }

// The lanes of `kept`, next to each other from the first on; `rest` in the others.
inline Vector pressed(Bits kept, Vector value, float rest) {
#if defined(__AVX512F__)
    return _mm512_mask_compress_ps(_mm512_set1_ps(rest), __mmask16(kept), value);
#else
    Vector out = all(rest);
    for (std::size_t lane = 0, to = 0; lane < lanes; ++lane) {
        if (kept >> lane & 1) out[to++] = value[lane];
    }
    return out;
#endif
}
// The other way round; 0 in the lanes that were not kept.
inline Vector spread(Bits kept, Vector value) {
#if defined(__AVX512F__)
    return _mm512_maskz_expand_ps(__mmask16(kept), value);
#else
    Vector out{};
    for (std::size_t lane = 0, from = 0; lane < lanes; ++lane) {
        if (kept >> lane & 1) out[lane] = value[from++];
    }
    return out;
#endif
}
inline Bits pressed(Bits kept, Bits flags) {
    Bits out = 0;
    for (std::size_t to = 0; kept; kept &= kept - 1, ++to) out |= (flags >> __builtin_ctz(kept) & 1) << to;
    return out;
}
inline Vector chosen(Bits where, Vector yes, Vector no) {
#if defined(__AVX512F__)
    return _mm512_mask_blend_ps(__mmask16(where), no, yes);
#else
    for (std::size_t lane = 0; lane < lanes; ++lane) no[lane] = where >> lane & 1 ? yes[lane] : no[lane];
    return no;
#endif
}

// Every lane gets what is `apart` lanes behind it, and those at the end what is behind the vector.
template <std::size_t apart>
inline Vector behind(Vector value, Vector rest) {
#if defined(__AVX512F__)
    return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(rest), _mm512_castps_si512(value), apart));
#else
    Vector out;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        out[lane] = lane + apart < lanes ? value[lane + apart] : rest[lane + apart - lanes];
    }
    return out;
#endif
}

// `ends` grows to the lanes that an episode's end cuts off from what is behind the vector: not even NaN comes through it.
template <std::size_t apart>
inline void add_up(Vector& a, Vector& b, Bits& ends) {
    if constexpr (apart < lanes) {
        const Vector linked = b + a * behind<apart>(b, Vector{});
        b = ends ? chosen(ends, b, linked) : linked;
        a = a * behind<apart>(a, all(1.0f));
        ends |= ends >> apart;
        add_up<2 * apart>(a, b, ends);
    }
}

inline Vector read(const float* from, std::size_t count) {
    if (count == lanes) return load(from);
    Vector out{};
    for (std::size_t lane = 0; lane < count; ++lane) out[lane] = from[lane];
    return out;
}
inline void write(float* to, std::size_t count, Vector value) {
    if (count == lanes) return store(to, value);
    for (std::size_t lane = 0; lane < count; ++lane) to[lane] = value[lane];
}

// What a vector hands on to the one before it.
struct Carry {
    float sum = 0.0f, value = 0.0f;  // the recursion's and V at the next unmasked token
    bool last = true;                // whether there is none: the next one met ends the row
};

template <bool off_policy>
inline void step(const Rows<float>& rows, const Row& row, std::size_t at, std::size_t count, Carry& carry) {
    const float gamma = float(row.gamma), decay = float(row.gamma * row.lam);
    const Bits kept = bits_of(rows.mask + at, count);
    const auto put = [&](float* to, Vector its) {
        if (to) write(to + at, count, kept == every || !kept ? its : spread(kept, its));
    };
    if (!kept) {
        put(rows.first, Vector{});
        put(rows.second, Vector{});
        return;
    }
    const auto take = [&](const float* from, float rest) {
        const Vector its = read(from + at, count);
        return kept == every ? its : pressed(kept, its, rest);
    };
    const std::size_t size = count_of(kept);
    const Bits there = kept == every ? every : (Bits{1} << size) - 1;
    Bits ends = carry.last ? Bits{1} << (size - 1) : 0;
    if (rows.dones) {
        const Bits done = bits_of(rows.dones + at, count) & kept;
        if (done) ends |= pressed(kept, done);
    }
    const Vector value = rows.values ? take(rows.values, carry.value) : Vector{};
    Vector after = behind<1>(value, all(carry.value));
    if (ends) after = chosen(ends, rows.next_values ? take(rows.next_values, 0.0f) : Vector{}, after);
    const Vector delta = chosen(there, take(rows.rewards, 0.0f) + gamma * after - value, Vector{});
    Vector a = all(decay), b = delta, rho{}, sums;
    if (off_policy) {
        const Vector ratio = exponential(take(rows.log_ratios, 0.0f));
        const float most_rho = float(rows.rho_clip), most_trace = float(rows.trace_clip);
        rho = ratio > most_rho ? all(most_rho) : ratio;
        a = decay * (ratio > most_trace ? all(most_trace) : ratio);
        b = rho * delta;
        b = chosen(there, b, Vector{});
    }
    if (ends) a = chosen(ends, Vector{}, a);
    a = chosen(there, a, all(1.0f));
    Bits cut = ends;
    add_up<1>(a, b, cut);
    sums = b + a * carry.sum;
    if (cut) sums = chosen(cut, b, sums);
    if (off_policy) {
        const Vector follows = chosen(ends, Vector{}, behind<1>(sums, all(carry.sum)));
        const Vector advantage = rho * (delta + gamma * follows);
        put(rows.first, sums + value);
        put(rows.second, advantage);
    } else {
        put(rows.first, sums);
        put(rows.second, sums + value);
    }
    carry = {sums[0], value[0], false};
}

void scan(const Rows<float>& rows, const Row& row) {
    Carry carry;
    const auto run = [&](auto stepped) {
        std::size_t at = row.end;
        for (; at >= row.begin + lanes; at -= lanes) stepped(at - lanes, lanes);
        if (at > row.begin) stepped(row.begin, at - row.begin);
    };
    if (rows.log_ratios) {
        run([&](std::size_t at, std::size_t count) { step<true>(rows, row, at, count, carry); });
    } else {
        run([&](std::size_t at, std::size_t count) { step<false>(rows, row, at, count, carry); });
    }
}

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{scan};

}  // namespace rlaif::scans
