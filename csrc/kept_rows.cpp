// The arithmetic of kept.hpp, compiled once for each of the variants in variants.hpp.
#include "kept.hpp"
#include "vectors.hpp"

namespace rlaif::kept {
namespace {

// `next` is what b will be in the next call: rows lie anywhere, and waiting for each takes longer than computing.
template <typename Number>
float dot(const Number* a, const Number* b, const Number* next, std::size_t width) {
    constexpr std::size_t ways = 4, line = 64 / sizeof(Number);
    Vector sums[ways] = {};
    std::size_t at = 0;
    for (; at + ways * lanes <= width; at += ways * lanes) {
        for (std::size_t ahead = at; ahead < at + ways * lanes; ahead += line) __builtin_prefetch(next + ahead);
        for (std::size_t way = 0; way < ways; ++way) {
            sums[way] += load(a + at + way * lanes) * load(b + at + way * lanes);
        }
    }
    for (; at < width; at += lanes) sums[0] += load_part(a + at, width - at) * load_part(b + at, width - at);
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// into += factor * row
template <typename Number>
void add(float factor, const Number* row, std::size_t width, float* into) {
    for (std::size_t at = 0; at < width; at += lanes) {
        const std::size_t count = smaller(lanes, width - at);
        store_part(into + at, load_part(into + at, count) + factor * load_part(row + at, count), count);
    }
}

template <typename Number>
void products(const Choice& its, std::size_t first, std::size_t end, float* out) {
    const Number *hidden = static_cast<const Number*>(its.hidden), *weight = static_cast<const Number*>(its.weight);
    for (std::size_t place = first * its.many; place < end * its.many; ++place) {
        const std::int64_t id = its.ids[place], next = place + 1 < end * its.many ? its.ids[place + 1] : id;
        const Number* row = hidden + place / its.many * its.width;
        const auto of = [&](std::int64_t id) { return weight + std::size_t(id < 0 ? 0 : id) * its.width; };
        out[place] = id < 0 ? 0.0f : dot(row, of(id), of(next), its.width);
    }
}

template <typename Number>
void of_hidden(const Choice& its, const float* slopes, std::size_t first, std::size_t end, float* out) {
    const Number* weight = static_cast<const Number*>(its.weight);
    for (std::size_t row = first; row < end; ++row) {
        float* into = out + row * its.width;
        for (std::size_t at = 0; at < its.width; ++at) into[at] = 0.0f;
        for (std::size_t place = row * its.many; place < (row + 1) * its.many; ++place) {
            const std::int64_t id = its.ids[place];
            if (id >= 0 && slopes[place] != 0.0f) {
                add(slopes[place], weight + std::size_t(id) * its.width, its.width, into);
            }
        }
    }
}

template <typename Number>
void of_weight(const Choice& its, const float* slopes, std::size_t share, std::size_t of, float* out) {
    const Number* hidden = static_cast<const Number*>(its.hidden);
    for (std::size_t place = 0; place < its.rows * its.many; ++place) {
        const std::int64_t id = its.ids[place];
        if (id < 0 || std::size_t(id) % of != share || slopes[place] == 0.0f) continue;
        add(slopes[place], hidden + place / its.many * its.width, its.width, out + std::size_t(id) * its.width);
    }
}

#define RLAIF_BY_KIND(name)                                                        \
    [](const Choice& its, auto... rest) {                                          \
        const auto run = its.kind == Kind::float32    ? &name<float>               \
                         : its.kind == Kind::bfloat16 ? &name<Bfloat16>            \
                                                      : &name<Float16>;            \
        run(its, rest...);                                                         \
    }

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{RLAIF_BY_KIND(products), RLAIF_BY_KIND(of_hidden), RLAIF_BY_KIND(of_weight)};

}  // namespace rlaif::kept
