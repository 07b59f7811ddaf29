// The arithmetic of whiten.hpp, compiled once for each of the variants in variants.hpp.
#include "vectors.hpp"
#include "whiten.hpp"

namespace rlaif::whiten {
namespace {

// A vector of a tile, and which of its numbers count; what is masked reads as `rest`, whatever stands there.
struct Some {
    Vector x;
    Integers here;

    Some(const float* from, const bool* mask, std::size_t at, std::size_t count, float rest) {
        x = load_part(from + at, count - at), here = load_flags_part(mask + at, count - at);
        x = here ? x : all(rest);
    }
};

Moments moments(const float* from, const bool* mask, std::size_t count, double shift) {
    // A float's distance from a mean in two summands, so that a large one does not swallow what is looked for.
    const float high = float(shift), low = float(shift - double(high));
    Moments total{};
    for (std::size_t start = 0; start < count; start += 64 * lanes) {
        Vector counted{}, sums{}, squares{};
        for (std::size_t at = start; at < smaller(start + 64 * lanes, count); at += lanes) {
            const Some some(from, mask, at, count, high);
            const Vector apart = some.here ? (some.x - high) - low : Vector{};
            counted += some.here ? all(1.0f) : Vector{};
            sums += apart;
            squares += apart * apart;
        }
        total.count += double(sum(counted)), total.sum += double(sum(sums)), total.squares += double(sum(squares));
    }
    return total;
}

void apply(const float* from, const bool* mask, std::size_t count, double mean, double factor, float* out) {
    const float high = float(mean), low = float(mean - double(high)), by = float(factor);
    for (std::size_t at = 0; at < count; at += lanes) {
        const Some some(from, mask, at, count, high);
        const Vector white = some.here ? ((some.x - high) - low) * by : Vector{};
        store_part(out + at, white, count - at);
    }
}

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{moments, apply};

}  // namespace rlaif::whiten
